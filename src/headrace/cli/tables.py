"""Fields and tables in a terminal of any width; no cell is ever truncated.

- Listings (``print_table``) wrap their last column; if that is not enough, a field is a line.
- Tables of numbers (``SplitTable``) continue below, each part after the key columns.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

_GAP = "  "
_MIN_LAST_WIDTH = 24
"""Columns below which the last column is not wrapped any further."""


def print_fields(*fields: tuple[str, object]) -> None:
    """One field per line; a value of several lines is indented below its name."""
    for name, value in fields:
        lines = str(value).splitlines() or ["(empty)"]
        if len(lines) == 1:
            print(f"  {name} {lines[0]}")
        else:
            print(f"  {name}")
            for line in lines:
                print(f"    {line}")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """As a table if it fits the terminal, else one field per line. Piped, it is as wide as its
    content."""
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
    """The text's lines, wrapped at the terminal's width and indented by ``indent`` columns."""
    width = _terminal_width()
    lines = _folded(text, None if width is None else max(width - indent, _MIN_LAST_WIDTH))
    return [" " * indent + line for line in lines]


def aligned_fields(fields: Iterable[tuple[str, str]]) -> Table:
    """Names in one column, values in a second one that is wrapped."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(name, Text(value))
    return table


class SplitTable:
    """A table of numbers. Columns that do not fit continue below, after the key columns."""

    def __init__(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[str]],
        num_keys: int = 1,
        bold_row: int | None = None,
    ) -> None:
        """The first ``num_keys`` columns identify a row. Cells are text, not markup."""
        self._headings = headings
        self._rows = rows
        self._num_keys = num_keys
        self._bold_row = bold_row
        self._column_widths = _widths(headings, rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | str]:
        for number, columns in enumerate(self._split(options.max_width)):
            if number:
                yield ""
            yield self._part(columns)

    def _split(self, max_width: int) -> list[list[int]]:
        """The columns of each part."""
        keys = list(range(self._num_keys))
        parts: list[list[int]] = [[*keys]]
        for column in range(self._num_keys, len(self._headings)):
            wider = [*parts[-1], column]
            is_first = len(parts[-1]) == self._num_keys
            if is_first or self._width(wider) <= max_width:
                parts[-1] = wider
            else:
                parts.append([*keys, column])
        return parts

    def _width(self, columns: Sequence[int]) -> int:
        return sum(self._column_widths[at] for at in columns) + len(_GAP) * (len(columns) - 1)

    def _part(self, columns: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for at in columns:
            justify: Literal["left", "right"] = "left" if at < self._num_keys else "right"
            table.add_column(self._headings[at], justify=justify, no_wrap=True)
        for number, row in enumerate(self._rows):
            style = "bold" if number == self._bold_row else None
            table.add_row(*(Text(row[at]) for at in columns), style=style)
        return table


def _plain(row: Sequence[str]) -> tuple[str, ...]:
    """Only the last cell may have several lines."""
    *cells, last = row
    return (*(" ".join(cell.split()) for cell in cells), last)


def _terminal_width() -> int | None:
    """None if stdout is not a terminal."""
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
    """The text's lines, wrapped between words, and within words longer than ``width``."""
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
