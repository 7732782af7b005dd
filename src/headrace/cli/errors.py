"""Errors of commands on the terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from headrace.core.errors import HeadraceError


class NotConfirmedError(HeadraceError):
    """The user did not confirm; nothing was changed."""

    code = "not_confirmed"


@contextmanager
def report_errors() -> Iterator[None]:
    """Print HeadraceError and OSError as one line on stderr, and exit with 1."""
    try:
        yield
    except HeadraceError as error:
        print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(1) from None
    except BrokenPipeError:  # handled by run_command
        raise
    except OSError as error:  # such as a full disk, or missing permissions
        show_os_error(error)
        raise typer.Exit(1) from None


def show_os_error(error: OSError) -> None:
    """Print the file, if there is one, and the system's reason, as one line on stderr."""
    what = "Cannot write output" if error.filename is None else f"{error.filename}"
    print(f"Error: {what}: {error.strerror or type(error).__name__}.", file=sys.stderr)
