"""One finished run, and the errors that end a run or a series early and keep what was measured."""

from dataclasses import dataclass
from traceback import format_exception
from typing import TYPE_CHECKING

from headrace.bench.errors import BenchError, root_cause
from headrace.bench.records import RequestRecord
from headrace.core.errors import HeadraceError

if TYPE_CHECKING:  # it imports numpy, which a command's --help does not need
    from headrace.bench.results.result_file import RunResult


@dataclass(frozen=True)
class MeasuredRun:
    """A run's result for the file, and all its records, whether or not the file keeps them."""

    run: "RunResult"
    records: list[RequestRecord]


class EndedEarlyError(BenchError):
    """A run or a series ended early; the requests that had completed are kept."""

    code = "ended_early"

    def __init__(
        self, message: str, measured: MeasuredRun | None = None, traceback: str | None = None
    ) -> None:
        super().__init__(message)
        self.measured = measured
        """The run in progress; None if none of its requests had completed."""
        self.traceback = traceback
        """Of an unexpected error, for a bug report."""


class InterruptedRunError(EndedEarlyError):
    """Ended by Ctrl-C or a signal."""

    code = "interrupted"


def as_bench_error(error: BaseException) -> BenchError:
    """The cause that ended a run or a series, as a BenchError."""
    cause = root_cause(error)
    if isinstance(cause, BenchError):
        return cause
    if isinstance(cause, KeyboardInterrupt):
        return InterruptedRunError("Interrupted.")
    if isinstance(cause, OSError | HeadraceError):
        return EndedEarlyError(str(cause))
    return EndedEarlyError(
        f"{type(cause).__name__}: {cause}", traceback="".join(format_exception(cause))
    )
