"""Bounds a log that somebody goes on writing: lets go of what is between its head and its tail.

The room is given back as a hole in the file, which moves no byte and closes no file: no line is
lost that comes meanwhile, and whoever follows the log goes on where he was. (Cutting it short
would lose what is written between copying and cutting; renaming it would not stop the writer, who
keeps his file.) Knows neither who writes nor who reads.
"""

import os
from pathlib import Path

from headrace.control.retention.policy import LogLimit
from headrace.control.retention.sparse_file import punch_hole

_UNIT = 1024 * 1024
"""Holes are multiples of it: a part of a disk's block can only be overwritten."""
_STAT_BLOCK = 512


def truncate_log(path: Path, bound: LogLimit) -> bool:
    """Whether it had to be done. Raises OSError; nothing happens if there is no such log."""
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
