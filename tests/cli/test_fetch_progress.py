"""Progress for logs and pipes: a line now and then."""

import io

import pytest

from headrace.cli.progress import PlainProgress, format_size


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time


def test_a_line_every_few_seconds() -> None:
    stream, clock = io.StringIO(), ManualClock()
    progress = PlainProgress(stream, clock, every_s=5.0)
    progress.begin("Downloading x", 2_000_000)
    for _ in range(8):
        clock.time += 2
        progress.advance(250_000)
    progress.end()
    assert stream.getvalue().splitlines() == [
        "Downloading x (2.0 MB) ...",
        "Downloading x: 750.0 kB of 2.0 MB (37 %)",
        "Downloading x: 1.5 MB of 2.0 MB (75 %)",
        "Downloading x: 2.0 MB of 2.0 MB (100 %)",
    ]


def test_unknown_size_and_stages_without_bytes() -> None:
    stream, clock = io.StringIO(), ManualClock()
    progress = PlainProgress(stream, clock)
    progress.begin("Looking for x", None)
    progress.end()
    progress.note("Another process is at it.")
    progress.begin("Copying", None)
    progress.advance(1234)
    progress.end()
    assert stream.getvalue().splitlines() == [
        "Looking for x ...",
        "Another process is at it.",
        "Copying ...",
        "Copying: 1.2 kB",
    ]


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (92_900_000, "92.9 MB"), (5 * 10**12, "5.0 TB")],
)
def test_format_size(num_bytes: int, text: str) -> None:
    assert format_size(num_bytes) == text
