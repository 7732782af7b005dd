"""The progress of a batch: a bar on a terminal, else a line every few seconds."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from headrace.model_client.batch_run import BatchProgress

_LINE_EVERY_S = 5.0


class BatchDisplay:
    """A context manager that writes to stderr."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._next_line_at = time.monotonic() + _LINE_EVERY_S
        if sys.stderr.isatty():
            self._bar = Progress(
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %  {task.description}", markup=False),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._task = self._bar.add_task("", total=1)
            self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, progress: BatchProgress) -> None:
        """After each result."""
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                total=progress.num_bytes,
                completed=progress.num_bytes_read,
                description=_counts(progress),
            )
        elif time.monotonic() >= self._next_line_at:
            self._next_line_at = time.monotonic() + _LINE_EVERY_S
            percent = 100 * progress.num_bytes_read // max(progress.num_bytes, 1)
            print(f"{percent} % read: {_counts(progress)}", file=sys.stderr, flush=True)


def _counts(progress: BatchProgress) -> str:
    rate = progress.num_output_tokens / max(progress.seconds, 1e-9)
    failed = f", {progress.num_failed} failed" if progress.num_failed else ""
    return f"{progress.num_done} requests{failed}, {rate:.0f} tokens/s"
