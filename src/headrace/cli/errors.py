"""What the terminal shows of what goes wrong. Knows no command."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from headrace.core.errors import HeadraceError


@contextmanager
def report_errors() -> Iterator[None]:
    """One clear line on stderr, and exit code 1, for what is known to go wrong."""
    try:
        yield
    except HeadraceError as error:
        print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(1) from None
    except BrokenPipeError:  # whoever read what we print has gone
        raise
    except OSError as error:  # a disk that is full, a folder that is closed to us
        show_os_error(error)
        raise typer.Exit(1) from None


def show_os_error(error: OSError) -> None:
    """Print the file, if there is one, and the system's reason, as one line on stderr."""
    what = "Output cannot be written" if error.filename is None else f"{error.filename}"
    print(f"Error: {what}: {error.strerror or type(error).__name__}.", file=sys.stderr)
