"""The ``headrace`` command as a process."""

import subprocess
import sys

import pytest

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
