"""stdout and stderr of every command: what cannot be written is one line and an exit code.

Knows no command.
"""

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from headrace.cli.errors import show_os_error


def run_command(command: Callable[[], object]) -> int:
    """Run it, write out all that it printed, and return its exit code.

    Whoever reads our stdout may stop doing so (``| head``): that is 1 without a word. A disk that
    is full, or a stdout that is closed, is 1 with one line on stderr, whatever the command has done
    by then.
    """
    _open_what_is_closed()
    code = 0
    try:
        try:
            command()
        except SystemExit as ended:
            code = _code_of(ended)
        sys.stdout.flush()
    except BrokenPipeError:
        code = code or 1
        _discard_the_rest()
    except OSError as error:
        code = code or 1
        with suppress(OSError):
            show_os_error(error)
        _discard_the_rest()
    return code


def _code_of(ended: SystemExit) -> int:
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1


def _open_what_is_closed() -> None:
    """Python has no stream for a descriptor that is closed, and the next file would get it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or io.TextIOWrapper(io.BufferedWriter(_Closed()), "utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115  (as long as the process)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name may be no text


def _discard_the_rest() -> None:
    """Nothing is to be tried once more when the interpreter ends."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
    if not _has_descriptor(sys.stdout):
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def _has_descriptor(stream: io.TextIOBase | object) -> bool:
    try:
        stream.fileno()  # type: ignore[union-attr]
    except (OSError, ValueError):
        return False
    return True


class _Closed(io.RawIOBase):
    """A descriptor that is closed: whoever writes to it learns so."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
