"""Commands of another program, and folders that only look like them."""

import subprocess
import sys

import pytest

from headrace.cli.command_hints import hint_for


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("whoami", "`headrace up` starts a platform"),
        ("serve revision create --serving a -f b", "`headrace revision create --serving a -f b`"),
        ("serve gateway update --serving a -f b", "`headrace gateway update --serving a -f b`"),
    ],
)
def test_what_belongs_to_another_program_is_told(typed: str, told: str) -> None:
    assert told in (hint_for(typed.split()) or "")


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "serve",
        "serve smollm2-135m",
        "serve revision",
        "serve revision --port 1",
        "service read x",
    ],
)
def test_what_is_meant_for_us_is_ours(typed: str) -> None:
    assert hint_for(typed.split()) is None


def test_it_is_one_line_and_wrong_usage() -> None:
    command = [sys.executable, "-m", "headrace", "serve", "revision", "list", "--serving", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: Use `headrace revision list --serving x`; `headrace serve` serves one model.\n"
    )
