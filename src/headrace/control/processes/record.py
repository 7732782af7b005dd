"""Files that record a process's handle. Whether it still runs, `process_group.py` checks."""

import json
from pathlib import Path

import msgspec

from headrace.control.private_file import write_private
from headrace.control.resources import ProcessHandle


def write_record(path: Path, handle: ProcessHandle) -> None:
    """Replace the file atomically."""
    write_private(path, json.dumps({"pid": handle.pid, "started_at": handle.started_at}))


def read_record(path: Path) -> ProcessHandle | None:
    """The recorded handle; None if there is no file, or it is invalid."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProcessHandle)
    except (OSError, msgspec.DecodeError):
        return None
