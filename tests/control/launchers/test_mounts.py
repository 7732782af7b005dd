"""Paths of a run in place of the host's, as the shell itself reads them."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.control.launchers.mounts import mount_paths, translate_paths, translate_workdir
from headrace.control.manifests.revision import parse_revision
from headrace.control.manifests.run import parse_run

MOUNTS = {"/code": Path("/runs/1/code"), "/code/data": Path("/elsewhere"), "/out": Path("/o")}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python /code/x.py", "python /runs/1/code/x.py"),
        ("cd /code && ls", "cd /runs/1/code && ls"),
        ("cd /code; ls /code/", "cd /runs/1/code; ls /runs/1/code/"),
        ("cat '/code/x' \"/code/y\"", "cat '/runs/1/code/x' \"/runs/1/code/y\""),
        ("x --config=/code/c.yml", "x --config=/runs/1/code/c.yml"),
        ("PYTHONPATH=/code:/out x", "PYTHONPATH=/runs/1/code:/o x"),
        ("x </code/in >/out/log", "x </runs/1/code/in >/o/log"),
        ("ls /code/data/a /code/database", "ls /elsewhere/a /runs/1/code/database"),
        ("cp /code/{a,b} /out", "cp /runs/1/code/{a,b} /o"),
        ("ls /code*", "ls /runs/1/code*"),
        ("$(/code/x)", "$(/runs/1/code/x)"),
    ],
)
def test_paths_are_translated(command: str, expected: str) -> None:
    assert translate_paths(command, MOUNTS) == expected


@pytest.mark.parametrize(
    "command",
    [
        "ls /codes /code2 /code-old /code.txt",
        "ls /srv/code ./code ../code ~/code $HOME/code ${X}/code",
        'ls "$HOME"/code $(pwd)/code `pwd`/code',
        "curl http://code/x https://example.com/code/y",
        "echo code/out",
    ],
)
def test_other_paths_stay(command: str) -> None:
    assert translate_paths(command, MOUNTS) == command


def test_nothing_mounted_changes_nothing() -> None:
    assert translate_paths("ls /code", {}) == "ls /code"


awkward = st.text(alphabet="ab '\"$`\\!*()&;#é", min_size=1, max_size=8).map(
    lambda name: Path("/root dir") / name
)


@settings(max_examples=60, deadline=None)
@given(awkward, st.sampled_from(["/code/f", "'/code/f'", '"/code/f"', "x='/code/f' /code/f"]))
def test_awkward_host_paths_are_one_word_to_the_shell(host: Path, word: str) -> None:
    command = translate_paths(f"# don't\nprintf '%s\\n' {word}", {"/code": host})
    told = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == f"{host}/f"


def test_a_real_shell_reads_them_so_too() -> None:
    host = Path('/it\'s $HOME `x` "y" \\z')
    command = translate_paths("printf '%s\\n' /code/a '/code/b' \"/code/c\"", {"/code": host})
    told = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == [f"{host}/{name}" for name in "abc"]


@pytest.mark.parametrize(
    ("workdir", "expected"),
    [
        ("/code", "/runs/1/code"),
        ("/code/", "/runs/1/code"),
        ("/code/a b", "/runs/1/code/a b"),
        ("/code/data/x", "/elsewhere/x"),
        ("/codes", "/codes"),
        ("relative", "relative"),
    ],
)
def test_workdirs_are_translated(workdir: str, expected: str) -> None:
    assert translate_workdir(workdir, MOUNTS) == Path(expected)


def test_mounts_lie_under_the_root_and_so_do_workdirs_that_the_host_lacks() -> None:
    spec = parse_run(
        "import: {/code/: ./c}\nexport: {/out/: artifact://o}\n"
        "run:\n- {command: a, workdir: /app}\n- {command: b, workdir: /code/sub}\n"
        "- {command: c, workdir: /tmp}\n- {command: d, workdir: here}\n",
        "r.yaml",
    ).spec
    assert mount_paths(spec, Path("/runs/7"), lambda path: path == "/tmp") == {
        "/code": Path("/runs/7/code"),
        "/out": Path("/runs/7/out"),
        "/app": Path("/runs/7/app"),
    }


def test_a_revision_has_imports_only() -> None:
    spec = parse_revision("import: {/code/: ./c}\nrun: x\n", "r.yaml").spec
    assert mount_paths(spec, Path("/r"), lambda path: False) == {"/code": Path("/r/code")}


def test_the_work_grows_as_the_text_does() -> None:
    """Quadratic work took minutes here."""
    text = "cat '/code/a' " * 5000
    assert translate_paths(text, {"/code": Path("/x")}) == "cat '/x/a' " * 5000
