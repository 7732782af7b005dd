"""A progress bar on stderr, if that is a terminal. Errors in drawing it do not affect the run."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from headrace.bench.load.load_generator import Progress as LoadProgress

MIN_WIDTH_FOR_BAR = 100
"""Columns below which only the text is shown."""
REFRESH_EVERY_S = 0.25
"""Drawing takes about a millisecond of the client's time."""


class LiveProgress:
    """Context manager around one or more runs; call it with each Progress."""

    def __init__(self, is_shown: bool | None = None) -> None:
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._label = ""
        self._drawn_at = 0.0
        if is_shown is None:
            is_shown = sys.stderr is not None and sys.stderr.isatty()
        if is_shown:
            console = Console(stderr=True)
            is_wide = console.width >= MIN_WIDTH_FOR_BAR
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                *([BarColumn(), TimeElapsedColumn()] if is_wide else []),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                console=console,
                auto_refresh=False,
                transient=True,
            )

    def begin(self, label: str) -> None:
        """Start the next run."""
        self._label = label
        with self._display() as bars:
            if bars is not None and self._task is not None:
                bars.remove_task(self._task)
                self._task = None

    def __call__(self, progress: LoadProgress) -> None:
        if self._bars is None:
            return
        now = time.monotonic()
        is_last = progress.num_ended == progress.num_planned
        if now - self._drawn_at < REFRESH_EVERY_S and not is_last:
            return
        self._drawn_at = now
        with self._display() as bars:
            if bars is None:
                return
            if self._task is None:
                self._task = bars.add_task(self._label, total=progress.num_planned, rate="")
            rate = describe_rate(progress)
            bars.update(self._task, completed=progress.num_ended, rate=rate, refresh=True)

    def __enter__(self) -> "LiveProgress":
        with self._display() as bars:
            if bars is not None:
                bars.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._display() as bars:
            if bars is not None:
                bars.stop()

    @contextmanager
    def _display(self) -> Iterator[Progress | None]:
        """The bars, if there are any. They are removed after an error in drawing them."""
        try:
            yield self._bars
        except Exception:  # of the stream, its encoding, or rich
            self._bars = None


def describe_rate(progress: LoadProgress) -> str:
    """``3.1 req/s, 210 tok/s, 4 in flight, 1 failed``"""
    elapsed_s = max(progress.elapsed_s, 1e-9)
    parts = [
        f"{progress.num_ended / elapsed_s:.3g} req/s",
        f"{progress.num_output_tokens / elapsed_s:,.0f} tok/s",
        f"{progress.num_sent - progress.num_ended} in flight",
    ]
    if progress.num_failed:
        parts.append(f"{progress.num_failed} failed")
    return ", ".join(parts)
