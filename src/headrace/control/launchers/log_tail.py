"""The last lines of a log, short enough for an error message."""

import re
from pathlib import Path

_MAX_NUM_BYTES = 16 * 1024
_MAX_LINE_LENGTH = 300
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def log_tail(log: Path, num_lines: int = 10) -> str:
    """The last non-empty lines; empty if the log cannot be read."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - _MAX_NUM_BYTES, 0))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    # Text before a carriage return was overwritten, such as by a progress bar.
    lines = (line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n"))
    plain = (_ANSI.sub("", line).rstrip()[:_MAX_LINE_LENGTH] for line in lines)
    return "\n".join([line for line in plain if line][-num_lines:])
