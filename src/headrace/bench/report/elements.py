"""What a section of the page is made of: charts with what they mean, and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from headrace.bench.report.units import NOTHING


@dataclass(frozen=True)
class Table:
    """Cells as they are shown; the first column names the row."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def is_number(self) -> list[bool]:
        """Of each column, whether it holds numbers, whose digits then stand below each other."""
        columns = [[row[at] for row in self.rows] for at in range(len(self.header))]
        return [all(_is_number(cell) for cell in column) for column in columns]


@dataclass(frozen=True)
class Chart:
    name: str
    """Of its PNG file, and of its ids in the page."""
    title: str
    meaning: Sequence[str]
    """Paragraphs: what is shown, how to read it, what it says here."""
    figure: Figure | None
    """None where there is only a table."""
    table: Table | None = None


@dataclass(frozen=True)
class Section:
    title: str
    text: str
    """One paragraph before the charts."""
    charts: Sequence[Chart] = field(default_factory=tuple)


def _is_number(cell: str) -> bool:
    return cell in ("", NOTHING) or cell.replace(",", "").replace(".", "", 1).isdigit()
