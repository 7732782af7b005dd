"""The bar while a run goes on."""

import os
import pty
import subprocess
import sys

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
    assert describe_rate(Progress(10, 7, 4, 0, 100, 2.0)) == (
        "2 requests/s, 50 tokens/s, 3 under way"
    )
    assert describe_rate(Progress(10, 7, 4, 1, 0, 0.0)).endswith("1 failed")


def test_nothing_is_shown_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    with LiveProgress() as progress:
        progress.begin("Measuring")
        progress(Progress(4, 4, 4, 0, 100, 2.0))
    assert capfd.readouterr() == ("", "")


def test_a_bar_is_shown_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.run(
        [sys.executable, "-c", SHOW],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "150"},
        check=True,
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert process.stdout == b""
    assert "Measuring" in shown
    assert "4/4" in shown
    assert "2 requests/s" in shown
