"""The progress bar of a run."""

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

from headrace.bench.load.live_progress import LiveProgress, describe_rate
from headrace.bench.load.load_generator import Progress

SHOW = """
from headrace.bench.load.live_progress import LiveProgress
from headrace.bench.load.load_generator import Progress
with LiveProgress() as progress:
    progress.begin("Measuring")
    progress(Progress(4, 4, 4, 0, 100, 2.0))
"""


def test_the_running_rate() -> None:
    assert describe_rate(Progress(10, 7, 4, 0, 100, 2.0)) == ("2 req/s, 50 tok/s, 3 in flight")
    assert describe_rate(Progress(10, 7, 4, 1, 0, 0.0)).endswith("1 failed")


def test_nothing_is_shown_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with LiveProgress() as progress:
        progress.begin("Measuring")
        progress(Progress(4, 4, 4, 0, 100, 2.0))
    assert capfd.readouterr() == ("", "")


def shown_on_a_terminal(program: str, width: int) -> str:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.run(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": str(width)},
            check=True,
        )
        os.close(theirs)
        pieces = []
        with suppress(OSError):  # Linux: all writers have closed
            while piece := screen.read(65536):
                pieces.append(piece)
    assert process.stdout == b""
    return b"".join(pieces).decode()


def test_a_bar_is_shown_on_a_terminal() -> None:
    shown = shown_on_a_terminal(SHOW, 150)
    assert "Measuring" in shown
    assert "4/4" in shown
    assert "2 req/s" in shown
    assert "━" in shown


def test_a_narrow_terminal_drops_text_before_the_bar() -> None:
    long = SHOW.replace("Measuring", "summarization stream, 8 at once, 10/10")
    shown = shown_on_a_terminal(long.replace("(4, 4, 4", "(20, 20, 20"), 80)
    assert "8 at once, 10/10" in shown
    assert "20/20" in shown
    assert "…" not in shown
