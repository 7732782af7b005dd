"""``headrace models`` with pip and a local folder of wheels."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.testing.models.gguf_wheel import build_gguf_wheel

TINY = b"GGUF" + bytes(5000)
COMMAND = [sys.executable, "-c", "from headrace.cli.models import app; app()"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HEADRACE_HOME, empty; pip finds only ``pypi:tiny-model==1``, the hub's cache is empty."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "HF_"))]:
        monkeypatch.delenv(name)
    wheelhouse = tmp_path / "wheelhouse"
    wheelhouse.mkdir()
    build_gguf_wheel(wheelhouse, "tiny-model", "1", {"tiny.gguf": TINY})
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheelhouse))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_pull_list_and_rm(home: Path) -> None:
    entry = home / "models/pypi/tiny-model/1"
    pulled = models("pull", "pypi:tiny-model")
    assert pulled.stdout == f"{entry / 'tiny.gguf'}\n"
    assert pulled.stderr.splitlines() == [
        "Looking for tiny-model ...",
        "Extracting tiny.gguf (5.0 kB) ...",
        "Extracting tiny.gguf: 5.0 kB of 5.0 kB (100 %)",
    ]
    tiny, short = json.loads(models("list", "--json").stdout)
    assert tiny == {
        "name": "pypi:tiny-model==1",
        "source": "wheel",
        "size_bytes": len(TINY) + (entry / "manifest.json").stat().st_size,
        "state": "complete",
        "path": str(entry),
        "description": "",
    }
    assert (short["name"], short["state"], short["path"]) == ("smollm2-135m", "available", None)

    assert models("rm", "pypi:tiny-model", "--yes").stdout.startswith("Removed pypi:tiny-model, 5.")
    assert not (home / "models/pypi/tiny-model").exists()
    assert [model["name"] for model in json.loads(models("list", "--json").stdout)] == [
        "smollm2-135m"
    ]


def test_the_table_shows_paths_and_incomplete_models(home: Path) -> None:
    models("pull", "pypi:tiny-model")
    os.truncate(home / "models/pypi/tiny-model/1/tiny.gguf", 3)
    heading, tiny, short = models("list").stdout.splitlines()
    assert heading.split() == ["NAME", "SOURCE", "SIZE", "STATE", "PATH"]
    assert tiny.split()[0] == "pypi:tiny-model==1"
    assert tiny.split()[-2:] == ["incomplete", str(home / "models/pypi/tiny-model/1")]
    assert short.split()[:5] == ["smollm2-135m", "wheel", "98.4", "MB", "available"]


@pytest.mark.parametrize(("answer", "gone"), [("y\n", True), ("n\n", False), ("", False)])
def test_rm_asks_first(home: Path, answer: str, gone: bool) -> None:
    models("pull", "pypi:tiny-model")
    done = models("rm", "pypi:tiny-model", stdin=answer)
    assert "Remove pypi:tiny-model (5." in done.stderr
    assert (home / "models/pypi/tiny-model/1/tiny.gguf").exists() is not gone
    assert done.returncode == (0 if gone else 1)
    assert ("othing was removed" in done.stderr) is not gone


def test_rm_refuses_paths_outside_the_caches(home: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(TINY)
    assert failure("rm", str(mine), "--yes").startswith(f"Error: '{mine}' is a path.")

    (home / "models/pypi/linked").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (home / "models/pypi/linked/1").symlink_to(outside)
    assert "leads out of the cache" in failure("rm", "pypi:linked", "--yes")
    assert mine.exists()
    assert outside.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pull", "smollm2-135n"), "Did you mean smollm2-135m?"),
        (("pull", "pypi:absent"), "No matching distribution found for absent"),
        (("pull", "org/name"), "HF_HUB_OFFLINE is set"),
        (("rm", "smollm2-135m", "--yes"), "not in the cache, nothing to remove."),
        (("rm", "org/name", "--yes"), "nothing to remove."),
        (("rm", "pypi:tiny-model/tiny.gguf", "--yes"), "removed together"),
        (("rm", "org/name:q4.gguf", "--yes"), "removed together"),
        (("rm", "zzz", "--yes"), "There is no model 'zzz'"),
    ],
)
@pytest.mark.usefixtures("home")
def test_failures_are_one_line_and_non_zero(arguments: tuple[str, ...], said: str) -> None:
    assert said in failure(*arguments)


def test_a_terminal_shows_a_progress_bar(home: Path) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        env = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
        command = [*COMMAND, "pull", "pypi:tiny-model"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=env) as process:
            os.close(theirs)
            shown = b""
            try:
                while part := screen.read(65536):  # a terminal's buffer is small
                    shown += part
            except OSError:  # EIO: no process has the terminal open
                pass
            printed, _ = process.communicate(timeout=180)
    assert printed.decode() == f"{home}/models/pypi/tiny-model/1/tiny.gguf\n"
    assert "Extracting tiny.gguf" in shown.decode()
    assert "━" in shown.decode()


def failure(*arguments: str) -> str:
    """The error line of a failing command, without progress."""
    done = models(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if not line.startswith("Looking for")]
    assert len(errors) == 1, errors
    return errors[0]


def models(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], input=stdin, capture_output=True, text=True, timeout=180
    )
