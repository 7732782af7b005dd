"""stdout and stderr of every command: a failed write is one line on stderr and exit code 1."""

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from headrace.cli.errors import show_os_error


def run_command(command: Callable[[], object]) -> int:
    """Run the command, flush stdout, and return the exit code.

    A broken pipe (``| head``) is exit code 1 without a message. A full disk or a closed stdout is
    exit code 1 with one line on stderr, even if the command itself has succeeded.
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
    """Replace closed standard streams. Python sets them to None, and the next file that is opened
    would get the descriptor."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or io.TextIOWrapper(io.BufferedWriter(_Closed()), "utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115  (open until exit)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be undecodable


def _discard_the_rest() -> None:
    """Redirect stdout and stderr to /dev/null, so that the flush at exit cannot fail again."""
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
    """A closed descriptor: every write fails with EBADF."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
