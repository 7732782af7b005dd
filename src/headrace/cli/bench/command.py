"""What every bench command does: check its numbers, handle signals, report errors on one line."""

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from types import FrameType
from typing import Any

import typer

from headrace.bench.errors import BenchError, OptionError
from headrace.bench.results.measured_run import EndedEarlyError, InterruptedRunError, as_bench_error
from headrace.cli.errors import report_errors
from headrace.cli.options import numeric_bounds
from headrace.core.options import Bounds

INTERRUPTED = 128 + signal.SIGINT
"""Exit code, as shells use it."""
_TERMINATING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a measurement as Ctrl-C does: completed requests are reported."""


def bench_command(command: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command: its numbers are checked first, its errors are reported.

    Raises TypeError for a numeric option without a range.
    """
    bounds = numeric_bounds(command)

    @functools.wraps(command)
    def run(**values: Any) -> None:
        with reporting():
            for name, allowed in bounds.items():
                if (value := values.get(name)) is not None:
                    check_number(f"--{name.replace('_', '-')}", value, allowed)
            command(**values)

    return run


def check_number(flag: str, value: float, allowed: Bounds) -> None:
    """Raises OptionError, which names the option as it is typed."""
    violation = allowed.violation(value)
    if violation is not None:
        raise OptionError(f"{flag} {violation}.")


@contextmanager
def reporting() -> Iterator[None]:
    """Exit code 1 for expected errors, 128 plus the signal's number for Ctrl-C, SIGTERM and
    SIGHUP."""
    received: list[int] = []
    if isinstance(sys.stdout, TextIOWrapper):  # file names may be no text
        sys.stdout.reconfigure(errors="backslashreplace")
    with report_errors(), _signals_as_ctrl_c(received):
        try:
            yield
            flush_stdout()
        except (InterruptedRunError, KeyboardInterrupt) as error:
            print_stderr(f"{str(error) or 'Interrupted.'} Nothing is reported.")
            raise typer.Exit(_code(received)) from None
        except typer.Exit as ended:
            if ended.exit_code != INTERRUPTED:
                raise
            raise typer.Exit(_code(received)) from None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore signals within the block, which writes results."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_TERMINATING)}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # a handler set in C cannot be restored
                signal.signal(number, handler)


def finish(ended_by: BenchError | None, causes: Sequence[BaseException]) -> None:
    """After the report: print why the measurement ended early (``ended_by``) and which outputs
    could not be written (``causes``). Exits with their code if there are any."""
    for cause in causes:
        if isinstance(cause, BrokenPipeError):  # the reader of stdout is gone
            raise cause
        _print_error(as_bench_error(cause), "")
    exit_if_ended_early(ended_by)
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
        raise typer.Exit(INTERRUPTED)
    if causes:
        raise typer.Exit(1)


def exit_if_ended_early(error: BenchError | None) -> None:
    """After the report: print why the measurement ended early, and exit."""
    if error is None:
        return
    _print_error(error, " Results up to that point are reported.")
    raise typer.Exit(INTERRUPTED if isinstance(error, InterruptedRunError) else 1)


def print_stderr(line: str) -> None:
    """On stderr, as stdout has the result. A closed stderr is ignored."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(line, file=sys.stderr)


def flush_stdout() -> None:
    """Raises OSError here, and only once, if the output cannot be written."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            # The rest of the buffer would fail again when the process exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _print_error(error: BenchError, more: str) -> None:
    if isinstance(error, EndedEarlyError) and error.traceback is not None:
        print_stderr(error.traceback.rstrip())
    line = " ".join(str(error).split())
    print_stderr(f"{line if isinstance(error, InterruptedRunError) else f'Error: {line}'}{more}")


@contextmanager
def _signals_as_ctrl_c(received: list[int]) -> Iterator[None]:
    """Handle other terminating signals as Ctrl-C, and record them."""

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        if callable(on_ctrl_c):  # asyncio's handler, during a run
            on_ctrl_c(signal.SIGINT, frame)
        else:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in _TERMINATING:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _code(received: Sequence[int]) -> int:
    return 128 + received[0] if received else INTERRUPTED
