"""What goes wrong while measuring, each told so that a person can mend it.

BenchError
├── OptionError        what was asked for makes no sense
├── ServerError        the server does not answer as an OpenAI-compatible one does
├── WorkloadError      a data set cannot be used, with the file and the line
├── ResultFileError    a file is not a result of ours
├── ClientBoundError   the client was slower than what it measured
└── EndedEarlyError    a run or a series ended before its end
    └── InterruptedRunError  by Ctrl-C or a signal
"""

from collections.abc import Callable
from traceback import format_exception
from typing import TYPE_CHECKING, TypeVar

from headrace.core.errors import HeadraceError

if TYPE_CHECKING:  # it imports this module
    from headrace.bench.measurement import Measured

Value = TypeVar("Value")


class BenchError(HeadraceError):
    """Base of the errors of measuring."""


class OptionError(BenchError):
    """What was asked for makes no sense."""


class ServerError(BenchError):
    """The server cannot be reached, or does not answer as an OpenAI-compatible one does."""


class WorkloadError(BenchError):
    """A data set cannot be read or used; the text names the file and the line."""


class ResultFileError(BenchError):
    """A file cannot be read as a result, or not be written."""


class ClientBoundError(BenchError):
    """The numbers would tell of the client, not of the server."""


class EndedEarlyError(BenchError):
    """A run or a series ended before its end. What it had measured is kept."""

    def __init__(
        self, message: str, measured: "Measured | None" = None, traceback: str | None = None
    ) -> None:
        super().__init__(message)
        self.measured = measured
        """Of the run that was under way, if any of its requests had ended."""
        self.traceback = traceback
        """Of an unforeseen error, for a report of it."""


class InterruptedRunError(EndedEarlyError):
    """Ctrl-C or a signal came before the end."""


def as_bench_error(error: BaseException) -> BenchError:
    """What ended a run or a series, as a BenchError."""
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


def root_cause(error: BaseException) -> BaseException:
    """The first error of a group, such as that of a task of many."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def attempt(step: Callable[[], Value], causes: list[BaseException]) -> Value | None:
    """What the step gives; None where it fails, and then its error is one more cause.

    For what is made of a measurement after it: none of it may lose the measurement.
    """
    try:
        return step()
    except BaseException as error:  # Ctrl-C too, and the panics of extension modules
        causes.append(root_cause(error))
        return None
