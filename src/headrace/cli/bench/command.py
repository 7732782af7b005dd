"""How every bench command runs: its numbers checked first, and one line for what ends it early."""

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from types import FrameType
from typing import Any

import typer

from headrace.bench.errors import BenchError
from headrace.bench.results.measured_run import EndedEarlyError, InterruptedRunError, as_bench_error
from headrace.cli.bench.ranges import check_numbers, numeric_options
from headrace.cli.errors import report_errors

INTERRUPTED = 128 + signal.SIGINT
"""Exit code, as shells have it."""
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a measurement as Ctrl-C does: what was measured is kept."""


def bench_command(unchecked: Collection[str] = ()) -> Callable[[Callable[..., None]], Any]:
    """Make a function a command. Something else holds the ranges of ``unchecked`` options."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        numbers = numeric_options(command, unchecked)

        @functools.wraps(command)
        def run(**values: Any) -> None:
            with reporting():
                check_numbers(numbers, values)
                command(**values)

        return run

    return decorate


@contextmanager
def reporting() -> Iterator[None]:
    """Exit code 1 for what is known to go wrong, 128 and the signal's number for Ctrl-C, SIGTERM
    and SIGHUP."""
    received: list[int] = []
    if isinstance(sys.stdout, TextIOWrapper):  # a file name need not be text, a terminal UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    with report_errors(), _ending_like_ctrl_c(received):
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
    """Within the block no signal ends anything: it writes what an hour of measuring gave."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING)}
    for number in before:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that C set cannot be set again
                signal.signal(number, handler)


def finish(ended_by: BenchError | None, causes: Sequence[BaseException]) -> None:
    """After the report: print why it is not all that was asked for, and which outputs could not be
    written (``causes``). Exits unless there is neither."""
    for cause in causes:
        if isinstance(cause, BrokenPipeError):  # the reader of stdout has gone
            raise cause
        _print_error(as_bench_error(cause), "")
    exit_if_ended_early(ended_by)
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
        raise typer.Exit(INTERRUPTED)
    if causes:
        raise typer.Exit(1)


def exit_if_ended_early(error: BenchError | None) -> None:
    """After the report: print why it is not all that was asked for, and exit."""
    if error is None:
        return
    _print_error(error, " What was measured before it is reported.")
    raise typer.Exit(INTERRUPTED if isinstance(error, InterruptedRunError) else 1)


def print_stderr(line: str) -> None:
    """On stderr, as stdout is the result's. A terminal that is gone loses no result."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(line, file=sys.stderr)


def flush_stdout() -> None:
    """So that what cannot be written fails here. Raises OSError, once."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            # What is left in the buffer would fail again at the end of the process.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _print_error(error: BenchError, more: str) -> None:
    if isinstance(error, EndedEarlyError) and error.traceback is not None:
        print_stderr(error.traceback.rstrip())
    line = " ".join(str(error).split())
    print_stderr(f"{line if isinstance(error, InterruptedRunError) else f'Error: {line}'}{more}")


@contextmanager
def _ending_like_ctrl_c(received: list[int]) -> Iterator[None]:
    """Turns other signals that end a program into Ctrl-C, and notes them."""

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        if callable(on_ctrl_c):  # asyncio's own, while a run goes on
            on_ctrl_c(signal.SIGINT, frame)
        else:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:  # not with nohup
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _code(received: Sequence[int]) -> int:
    return 128 + received[0] if received else INTERRUPTED
