"""Truncates a log while it is being written: punches out the part between its head and its tail.

The log becomes a sparse file. No byte moves and no file is closed, so no concurrent write is lost,
and readers keep their position. (Copy-and-truncate would lose writes in between; renaming would
need the writer to reopen the file.)
"""

import os
from pathlib import Path

from headrace.control.retention.policy import LogLimit
from headrace.control.retention.sparse_file import punch_hole

_UNIT = 1024 * 1024
"""Holes are multiples of it: a filesystem can only deallocate whole blocks."""
_STAT_BLOCK = 512


def truncate_log(path: Path, bound: LogLimit) -> bool:
    """Whether the log exceeded its limit. Raises OSError; a missing log is not an error."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        stat = os.fstat(file)
        if stat.st_blocks * _STAT_BLOCK <= bound.max_num_bytes:
            return False
        begin = -(-bound.num_head_bytes // _UNIT) * _UNIT
        end = (stat.st_size - bound.num_tail_bytes) // _UNIT * _UNIT
        if end <= begin:
            return False
        punch_hole(file, begin, end)
        return True
    finally:
        os.close(file)
