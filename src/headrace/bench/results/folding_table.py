"""A table whose columns stand below each other where the terminal is too narrow for all of them.

Knows rich, and nothing of what its cells say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

GAP = 2
"""Characters between two columns."""


@dataclass(frozen=True, slots=True)
class _Row:
    cells: Sequence[str]
    is_bold: bool


class FoldingTable:
    """Nothing is cut: what does not fit follows below, after the key columns once more."""

    def __init__(self, headings: Sequence[str], num_keys: int = 1) -> None:
        """The first ``num_keys`` columns say what a row is about."""
        self._headings = headings
        self._num_keys = num_keys
        self._rows: list[_Row] = []

    def add_row(self, *cells: str, is_bold: bool = False) -> None:
        """One cell a heading; taken as it is, not as markup."""
        self._rows.append(_Row(cells, is_bold))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | str]:
        for number, columns in enumerate(self._fold(options.max_width)):
            if number:
                yield ""
            yield self._table(columns)

    def _fold(self, max_width: int) -> list[list[int]]:
        """The columns of each part."""
        keys = list(range(self._num_keys))
        parts: list[list[int]] = [[*keys]]
        for column in range(self._num_keys, len(self._headings)):
            wider = [*parts[-1], column]
            is_alone = len(parts[-1]) == self._num_keys
            if is_alone or self._width(wider) <= max_width:
                parts[-1] = wider
            else:
                parts.append([*keys, column])
        return parts

    def _width(self, columns: Sequence[int]) -> int:
        widths = [
            max(cell_len(self._headings[at]), *(cell_len(row.cells[at]) for row in self._rows))
            if self._rows
            else cell_len(self._headings[at])
            for at in columns
        ]
        return sum(widths) + GAP * (len(columns) - 1)

    def _table(self, columns: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for at in columns:
            table.add_column(
                self._headings[at],
                justify="left" if at < self._num_keys else "right",
                no_wrap=True,
            )
        for row in self._rows:
            cells = [Text(row.cells[at]) for at in columns]
            table.add_row(*cells, style="bold" if row.is_bold else None)
        return table
