"""What ends a bench command early, told on one line. Knows no command."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from headrace.cli.errors import report_errors


@contextmanager
def reporting() -> Iterator[None]:
    """Exit code 1 for what is known to go wrong, 130 for Ctrl-C."""
    try:
        with report_errors():
            yield
    except KeyboardInterrupt:
        print("Interrupted; nothing is reported.", file=sys.stderr)
        raise typer.Exit(130) from None
