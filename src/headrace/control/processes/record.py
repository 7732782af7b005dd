"""A file that says which process is at work, for those who come later.

Whether that process still runs is `process_group.py`'s to say.
"""

import json
from pathlib import Path

import msgspec

from headrace.control.private_file import write_private
from headrace.control.resources import ProcessHandle


def write_record(path: Path, handle: ProcessHandle) -> None:
    """Replace the file whole, so that nobody reads half of it."""
    write_private(path, json.dumps({"pid": handle.pid, "started_at": handle.started_at}))


def read_record(path: Path) -> ProcessHandle | None:
    """What the file says; None if there is none, or it is broken."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProcessHandle)
    except (OSError, msgspec.DecodeError):
        return None
