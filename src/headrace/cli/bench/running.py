"""What ends a bench command early, told on one line. Knows no command."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from headrace.bench.errors import BenchError, InterruptedRunError
from headrace.cli.errors import report_errors

INTERRUPTED = 130
"""Exit code: 128 and the number of SIGINT, as shells have it."""


@contextmanager
def reporting() -> Iterator[None]:
    """Exit code 1 for what is known to go wrong, 130 for Ctrl-C."""
    with report_errors():
        try:
            yield
        except (InterruptedRunError, KeyboardInterrupt) as error:
            print(f"{str(error) or 'Interrupted.'} Nothing is reported.", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None


def exit_if_ended_early(error: BenchError | None) -> None:
    """After what was measured is told: why it is not all that was asked for."""
    if error is None:
        return
    is_interrupted = isinstance(error, InterruptedRunError)
    told = str(error) if is_interrupted else f"Error: {error}"
    print(f"{told} What was measured before it is reported.", file=sys.stderr)
    raise typer.Exit(INTERRUPTED if is_interrupted else 1)
