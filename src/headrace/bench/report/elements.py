"""The elements of a page: sections, charts with explanations, and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from headrace.bench.report.units import NOTHING


@dataclass(frozen=True)
class Table:
    """Formatted cells; the first column names the row."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def is_number(self) -> list[bool]:
        """Per column, whether it holds numbers, which are right-aligned."""
        columns = [[row[at] for row in self.rows] for at in range(len(self.header))]
        return [all(_is_number(cell) for cell in column) for column in columns]


@dataclass(frozen=True)
class Chart:
    name: str
    """Name of its PNG file, and prefix of its ids in the page."""
    title: str
    meaning: Sequence[str]
    """Paragraphs: what it shows, how to read it, and the main findings."""
    figure: Figure | None
    """None for a table without a chart."""
    table: Table | None = None


@dataclass(frozen=True)
class Section:
    title: str
    text: str
    """One paragraph before the charts."""
    charts: Sequence[Chart] = field(default_factory=tuple)


def _is_number(cell: str) -> bool:
    return cell in ("", NOTHING) or cell.replace(",", "").replace(".", "", 1).isdigit()
