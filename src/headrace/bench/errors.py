"""What goes wrong while measuring, each told so that a person can mend it.

BenchError
├── OptionError        what was asked for makes no sense
├── ServerError        the server does not answer as an OpenAI-compatible one does
├── WorkloadError      a data set cannot be used, with the file and the line
├── ResultFileError    a file is not a result of ours
├── ClientBoundError   the client was slower than what it measured
└── InterruptedRunError  Ctrl-C
"""

from typing import TYPE_CHECKING

from headrace.core.errors import HeadraceError

if TYPE_CHECKING:  # it imports this module
    from headrace.bench.measurement import Measured


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


class InterruptedRunError(BenchError):
    """Ctrl-C came before the end."""

    def __init__(self, message: str, measured: "Measured | None" = None) -> None:
        super().__init__(message)
        self.measured = measured
        """Of the run that was under way, if any of its requests had ended."""


def as_bench_error(error: BenchError | KeyboardInterrupt) -> BenchError:
    """Ctrl-C as an error like the others that end a series of runs."""
    return error if isinstance(error, BenchError) else InterruptedRunError("Interrupted.")
