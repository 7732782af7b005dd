"""Writes a table as CSV. Knows no columns."""

import csv
from collections.abc import Iterable
from pathlib import Path

from headrace.bench.errors import ResultFileError


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Replaces what was there; raises ResultFileError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
    except OSError as error:
        raise ResultFileError(f"Cannot write {path}: {error.strerror}.") from error
