"""Errors of measuring; each message says what is wrong and what to do.

BenchError                   bench_error
├── OptionError              invalid_option     an option or a combination of options is invalid
├── ServerError              server_error       unreachable, or not an OpenAI-compatible server
├── WorkloadError            invalid_workload   a data set cannot be used; names file and line
├── ResultFileError          result_file        a result file cannot be read or written
├── ClientBoundError         client_bound       the client was the bottleneck
└── results.measured_run.EndedEarlyError  ended_early  a run or a series ended early
    └── InterruptedRunError               interrupted  by Ctrl-C or a signal
"""

from collections.abc import Callable
from typing import TypeVar

from headrace.core.errors import HeadraceError

Value = TypeVar("Value")


class BenchError(HeadraceError):
    """Base of the errors of measuring."""

    code = "bench_error"


class OptionError(BenchError):
    """An option, or a combination of options, is invalid."""

    code = "invalid_option"


class ServerError(BenchError):
    """The server is unreachable, or does not answer as an OpenAI-compatible server does."""

    code = "server_error"


class WorkloadError(BenchError):
    """A data set cannot be read or used; the message names the file and the line."""

    code = "invalid_workload"


class ResultFileError(BenchError):
    """A file cannot be read as a result, or cannot be written."""

    code = "result_file"


class ClientBoundError(BenchError):
    """The client was the bottleneck, so the figures do not describe the server."""

    code = "client_bound"


def root_cause(error: BaseException) -> BaseException:
    """The first leaf of an exception group, such as a TaskGroup raises."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def attempt(step: Callable[[], Value], causes: list[BaseException]) -> Value | None:
    """The result of ``step``; None if it fails, with its error appended to ``causes``.

    For work that follows a measurement: no failure there may lose what was measured.
    """
    try:
        return step()
    except BaseException as error:  # Ctrl-C too, and panics of extension modules
        causes.append(root_cause(error))
        return None
