"""Download progress: a bar on a terminal, else a line every few seconds."""

import sys
import threading
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from headrace.core.clock import Clock, MonotonicClock
from headrace.models.sources.progress import Progress


def progress_for_stderr(*, as_lines: bool = False) -> Progress:
    """A bar if stderr is a terminal, else lines. as_lines: always lines, for downloads that may run
    at the same time."""
    if sys.stderr.isatty() and not as_lines:
        return TerminalProgress(Console(stderr=True))
    return PlainProgress(sys.stderr, MonotonicClock())


class TerminalProgress:
    """A rich bar for each stage, with speed and remaining time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: RichProgress | None = None
        self._task: TaskID | None = None

    def begin(self, label: str, total_bytes: int | None) -> None:
        self.end()
        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = self._bars.add_task(label, total=total_bytes)
        self._bars.start()

    def advance(self, num_bytes: int) -> None:
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, num_bytes)

    def end(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = self._task = None

    def note(self, text: str) -> None:
        self._console.print(Text(text))


class PlainProgress:
    """A line when a stage begins, one every few seconds, and one when it ends."""

    def __init__(self, stream: TextIO, clock: Clock, every_s: float = 5.0) -> None:
        self._stream = stream
        self._clock = clock
        self._every_s = every_s
        self._lock = threading.Lock()
        """`advance` and `end` may be called in different threads."""
        self._label: str | None = None
        self._total: int | None = None
        self._num_bytes = 0
        self._last_line_at = 0.0

    def begin(self, label: str, total_bytes: int | None) -> None:
        with self._lock:
            self._label, self._total, self._num_bytes = label, total_bytes, 0
            self._last_line_at = self._clock.now()
            size = "" if total_bytes is None else f" ({format_size(total_bytes)})"
            self._write(f"{label}{size} ...")

    def advance(self, num_bytes: int) -> None:
        with self._lock:
            self._num_bytes += num_bytes
            now = self._clock.now()
            if self._label is not None and now - self._last_line_at >= self._every_s:
                self._last_line_at = now
                self._write(f"{self._label}: {self._how_far()}")

    def end(self) -> None:
        with self._lock:
            if self._label is not None and self._num_bytes:
                self._write(f"{self._label}: {self._how_far()}")
            self._label = None

    def note(self, text: str) -> None:
        self._write(text)

    def _how_far(self) -> str:
        if not self._total:
            return format_size(self._num_bytes)
        percent = min(100, 100 * self._num_bytes // self._total)
        return f"{format_size(self._num_bytes)} of {format_size(self._total)} ({percent} %)"

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def format_size(num_bytes: int) -> str:
    """In decimal units, as pip does: 92.9 MB."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
