"""Fields and tables in a terminal: nothing is ever cut off, however narrow it is.

Knows no resource.
"""

import shutil
import sys
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, chop_cells

_GAP = "  "
_MIN_LAST_WIDTH = 24
"""The last column is folded, and down to this it is still pleasant to read."""


def print_fields(*fields: tuple[str, object]) -> None:
    """One field a line, its name first; a value of several lines goes below it."""
    for name, value in fields:
        lines = str(value).splitlines() or ["(empty)"]
        if len(lines) == 1:
            print(f"  {name} {lines[0]}")
        else:
            print(f"  {name}")
            for line in lines:
                print(f"    {line}")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table where it fits; in a terminal that is too narrow, one field a line.

    Where nobody looks at it, it is as wide as what is in it.
    """
    rows = [_plain(row) for row in rows]
    width = _terminal_width()
    if not _fits(headings, rows, width):
        filled = [index for index, _ in enumerate(headings) if any(row[index] for row in rows)]
        headings = [headings[index] for index in filled]
        rows = [tuple(row[index] for index in filled) for row in rows]
    if _fits(headings, rows, width):
        _print_columns(headings, rows, width)
    else:
        _print_records(headings, rows)


def fits(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> bool:
    """Whether `print_table` would show these as a table."""
    return _fits(headings, [_plain(row) for row in rows], _terminal_width())


def wrapped(text: str, indent: int) -> list[str]:
    """Its lines, broken between words where the terminal ends, each ``indent`` columns in."""
    width = _terminal_width()
    lines = _folded(text, None if width is None else max(width - indent, _MIN_LAST_WIDTH))
    return [" " * indent + line for line in lines]


def _plain(row: Sequence[str]) -> tuple[str, ...]:
    """Only the last cell may have several lines."""
    *cells, last = row
    return (*(" ".join(cell.split()) for cell in cells), last)


def _terminal_width() -> int | None:
    """None where it is no terminal that reads."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _fits(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> bool:
    if width is None:
        return True
    *widths, last = _widths(headings, rows)
    left = width - sum(widths) - len(_GAP) * len(widths)
    return left >= min(last, _MIN_LAST_WIDTH)


def _widths(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    columns = zip(headings, *rows, strict=True)
    return [
        max((cell_len(line) for cell in column for line in cell.splitlines()), default=0)
        for column in columns
    ]


def _print_columns(
    headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None
) -> None:
    *widths, _ = _widths(headings, rows)
    indent = sum(widths) + len(_GAP) * len(widths)
    for *cells, last in (headings, *rows):
        first_line = "".join(
            cell + " " * (space - cell_len(cell)) + _GAP
            for cell, space in zip(cells, widths, strict=True)
        )
        left = None if width is None else width - indent
        for number, line in enumerate(_folded(last, left)):
            print(((first_line if number == 0 else " " * indent) + line).rstrip())


def _print_records(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for number, row in enumerate(rows):
        if number > 0:
            print()
        print_fields(*((name, cell) for name, cell in zip(headings, row, strict=True) if cell))


def _folded(text: str, width: int | None) -> list[str]:
    """Its lines, broken between words, and inside of words that are wider than ``width``."""
    if width is None:
        return text.splitlines() or [""]
    folded: list[str] = []
    for line in text.splitlines() or [""]:
        kept = ""
        for word in line.split(" "):
            longer = f"{kept} {word}" if kept else word
            if cell_len(longer) <= width:
                kept = longer
                continue
            if kept:
                folded.append(kept)
            *whole, kept = chop_cells(word, width) or [""]
            folded.extend(whole)
        folded.append(kept)
    return folded
