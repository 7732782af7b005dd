"""Checks before a run that results can be written, by writing.

Checking permissions is not enough: a disk may be full or read-only.
"""

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import IO

from headrace.bench.errors import ResultFileError
from headrace.bench.results.output_file import can_be_replaced

_PROBE = b"\0" * 4096
"""One block, as an empty file fits on a full disk."""


def check_can_be_written(file: Path) -> None:
    """Raises ResultFileError with the reason. Leaves no file."""
    if file.is_dir():
        raise ResultFileError(f"Cannot write {file}: it is a folder.")
    place = file.resolve()
    if not place.exists() or can_be_replaced(place):
        check_can_hold_files(place.parent)
    elif not place.is_fifo():  # opening one blocks until it has a reader
        try:
            with place.open("ab", buffering=0) as stream:
                _check_descriptor(stream.fileno())
        except OSError as error:
            raise ResultFileError(f"Cannot write {file}: {error.strerror or error}.") from None


def check_can_hold_files(folder: Path) -> None:
    """The same for a folder, which need not exist yet."""
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not place.is_dir():
        raise ResultFileError(f"Cannot write into {folder}: {place} is a file.")
    try:
        with tempfile.TemporaryFile(dir=place, buffering=0) as stream:
            stream.write(_PROBE)
    except OSError as error:
        raise ResultFileError(
            f"Cannot write into {folder}: {place}: {error.strerror or error}."
        ) from None


def check_stream(stream: IO[str] | None, name: str) -> None:
    """The same for stdout, which may be closed, a full device, or a file on a full disk."""
    if stream is None:
        raise ResultFileError(f"Cannot write to {name}: it is closed.")
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # not a file, as in tests
        return
    try:
        _check_descriptor(number)
    except OSError as error:
        raise ResultFileError(f"Cannot write to {name}: {error.strerror or error}.") from None


def _check_descriptor(number: int) -> None:
    """Raises OSError. Writes zero bytes, which makes a device report its errors."""
    os.write(number, b"")
    if stat.S_ISREG(os.fstat(number).st_mode) and not os.fstatvfs(number).f_bfree:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
