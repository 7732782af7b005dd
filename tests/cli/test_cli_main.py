"""The ``headrace`` command as a process."""

import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from headrace.cli.bench import build_app as build_bench
from headrace.cli.main import build_app
from headrace.version import __version__


def headrace(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=180.0,
        env={"COLUMNS": "200", "PATH": "", "HOME": "/nonexistent"},
    )


def test_version() -> None:
    done = headrace("--version")
    assert (done.returncode, done.stdout) == (0, f"headrace {__version__}\n")


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("models", "--help")])
def test_help(arguments: tuple[str, ...]) -> None:
    done = headrace(*arguments)
    assert done.returncode == 0
    assert "Usage:" in done.stdout


def test_serve_names_what_vllms_users_know() -> None:
    text = headrace("serve", "--help").stdout
    for name in (
        "--model",
        "--dtype",
        "--api-key",
        "--max-model-len",
        "--no-enable-prefix-caching",
    ):
        assert name in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serve", "no-such-model"), "no-such-model"),
        (("serve", "one", "--model", "two"), "--model"),
        (("serve", "--port", "70000"), "--port"),
        (("serve", "--max-num-seqs", "0"), "--max-num-seqs"),
    ],
    ids=str,
)
def test_known_errors_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = (
        headrace(*arguments, "--port", "0") if "--port" not in arguments else headrace(*arguments)
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_an_unknown_value_names_those_that_are() -> None:
    done = headrace("serve", "--dtype", "int7")
    assert done.returncode == 2
    assert "bfloat16" in done.stderr


def test_a_named_command_is_the_one_of_the_help() -> None:
    """It is built alone, and its help is the same as among all others."""
    for build in (build_app, build_bench):
        whole = build()
        names = list(get_command(whole).commands)
        assert len(names) > 8
        for name in names:
            alone = build([name])
            assert list(get_command(alone).commands) == [name]
            expected = CliRunner().invoke(whole, [name, "--help"])
            assert expected.exit_code == 0
            assert CliRunner().invoke(alone, [name, "--help"]).output == expected.output


def test_an_unknown_command_gets_a_suggestion() -> None:
    done = CliRunner().invoke(build_app(["sevre"]), ["sevre"])
    assert done.exit_code == 2
    assert "serve" in done.output


def test_a_command_loads_its_own_module_alone() -> None:
    code = (
        "import sys; from headrace.cli.main import build_app; build_app(['status']); "
        "loaded = [name for name in sys.modules if name.startswith('headrace.cli.')]; "
        "assert 'headrace.cli.deploy.up' in loaded; "
        "assert not {'headrace.cli.serving.serve', 'headrace.cli.models', 'headrace.cli.bench'} "
        "& set(loaded), loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)
