"""Whether files can be written where they are wanted. Knows nothing of what is in them."""

import os
from pathlib import Path

from headrace.bench.errors import ResultFileError


def check_can_be_written(file: Path) -> None:
    """Raises ResultFileError, with the reason; makes nothing."""
    if file.is_dir():
        raise ResultFileError(f"Cannot write {file}: it is a folder.")
    if file.exists():
        if not os.access(file, os.W_OK):
            raise ResultFileError(f"Cannot write {file}: it is protected.")
        return
    check_can_hold_files(file.parent)


def check_can_hold_files(folder: Path) -> None:
    """The same for a folder, which need not be there yet."""
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not place.is_dir():
        raise ResultFileError(f"Cannot write into {folder}: {place} is a file.")
    if not os.access(place, os.W_OK):
        raise ResultFileError(f"Cannot write into {folder}: {place} is protected.")
