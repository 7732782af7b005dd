"""Files with holes: parts that take no room on the disk, and are read as zeros.

A hole moves nothing: whoever appends to the file, or reads it somewhere else, is not disturbed.
Knows no log.
"""

import ctypes
import errno
import os
import sys

_HAS_HOLES = sys.platform.startswith("linux")
_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02
"""Of Linux's fallocate(2)."""


def punch_hole(file: int, begin: int, end: int) -> None:
    """Give back the room of ``[begin, end)`` of an open file.

    Raises OSError; with ENOTSUP where the system or the file's disk knows no holes.
    """
    if not _HAS_HOLES:
        raise OSError(errno.ENOTSUP, "no holes can be made in files here")
    libc = ctypes.CDLL(None, use_errno=True)
    # Some C libraries have but the one, with offsets of 64 bits.
    fallocate = libc.fallocate64 if hasattr(libc, "fallocate64") else libc.fallocate
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if fallocate(file, _KEEP_SIZE | _PUNCH_HOLE, begin, end - begin) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def next_data(file: int, position: int) -> int:
    """``position``, or where the hole ends that it lies in; at the file's end, that end."""
    return _seek(file, position, os.SEEK_DATA) if _HAS_HOLES else position


def next_hole(file: int, position: int) -> int:
    """Where the next hole begins; without one, at the file's end."""
    return _seek(file, position, os.SEEK_HOLE) if _HAS_HOLES else _end(file, position)


def _seek(file: int, position: int, how: int) -> int:
    try:
        return os.lseek(file, position, how)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    return _end(file, position)  # nothing but a hole is left, or nothing at all


def _end(file: int, position: int) -> int:
    return max(position, os.fstat(file).st_size)
