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
    """A UTF-8 stream whose content replaces ``path`` when the block succeeds. Folders are created.

    Lone surrogates are escaped. Raises ResultFileError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = path.resolve()  # a symbolic link is kept
        if place.exists() and not can_be_replaced(place):
            with _open(place) as stream:
                yield stream
            return
        part = place.with_name(f".headrace-{os.getpid()}.part")
        try:
            with _open(part) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())  # some file systems report a full disk only here
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
    """Devices and pipes cannot, nor can files in a folder without write access."""
    return place.is_file() and os.access(place.parent, os.W_OK)


def _open(path: Path) -> TextIOWrapper:
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
