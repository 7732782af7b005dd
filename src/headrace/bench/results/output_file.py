"""Writes a file completely or not at all: the old file stays until the new one is complete."""

import csv
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from headrace.bench.errors import ResultFileError


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A stream of UTF-8, put in the place of ``path`` when the block ends well. Folders are made.

    Characters that UTF-8 has no bytes for are escaped. Raises ResultFileError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = path.resolve()  # a link stays a link
        if place.exists() and not can_be_replaced(place):
            with _open(place) as stream:
                yield stream
            return
        part = place.with_name(f".headrace-{os.getpid()}.part")
        try:
            with _open(part) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())  # some file systems find their disk full only here
            if place.exists():
                part.chmod(stat.S_IMODE(place.stat().st_mode))
            part.replace(place)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    except OSError as error:
        raise ResultFileError(f"Cannot write {path}: {error.strerror or error}.") from error


def write_text(path: Path, text: str) -> None:
    """Raises ResultFileError."""
    with replacing(path) as stream:
        stream.write(text)


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A header line and one line per row; raises ResultFileError."""
    with replacing(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def can_be_replaced(place: Path) -> bool:
    """A device or a pipe cannot, nor what lies in a folder that takes no new file."""
    return place.is_file() and os.access(place.parent, os.W_OK)


def _open(path: Path) -> TextIOWrapper:
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
