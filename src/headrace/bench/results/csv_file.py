"""Writes a table as CSV. Knows no columns."""

import csv
from collections.abc import Iterable
from pathlib import Path

from headrace.bench.results.output_file import replacing


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Replaces what was there; raises ResultFileError."""
    with replacing(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
