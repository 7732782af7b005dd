"""Holes in sparse files: ranges that take no disk space and read as zeros.

Punching a hole does not affect concurrent appends, or reads of other ranges.
"""

import ctypes
import errno
import os
import sys

_HAS_HOLES = sys.platform.startswith("linux")
_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02
"""Of Linux's fallocate(2)."""


def punch_hole(file: int, begin: int, end: int) -> None:
    """Deallocate ``[begin, end)`` of an open file.

    Raises OSError; with ENOTSUP if the system or the filesystem does not support it.
    """
    if not _HAS_HOLES:
        raise OSError(errno.ENOTSUP, "hole punching is not supported on this system")
    libc = ctypes.CDLL(None, use_errno=True)
    # Some C libraries have only fallocate, with 64-bit offsets.
    fallocate = libc.fallocate64 if hasattr(libc, "fallocate64") else libc.fallocate
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if fallocate(file, _KEEP_SIZE | _PUNCH_HOLE, begin, end - begin) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def next_data(file: int, position: int) -> int:
    """``position``, or the end of the hole that it is in; at most the file's size."""
    return _seek(file, position, os.SEEK_DATA) if _HAS_HOLES else position


def next_hole(file: int, position: int) -> int:
    """The begin of the next hole; the file's size if there is none."""
    return _seek(file, position, os.SEEK_HOLE) if _HAS_HOLES else _end(file, position)


def _seek(file: int, position: int, how: int) -> int:
    try:
        return os.lseek(file, position, how)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    return _end(file, position)  # a hole up to the end of the file, or the end itself


def _end(file: int, position: int) -> int:
    return max(position, os.fstat(file).st_size)
