"""Tables of runs side by side, with their ratios pair by pair.

Knows nothing of how the figures came about.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from figures import FIGURES
from workloads import Workload

Runs = dict[str, list[dict[str, float]]]
"""By server's name, the figures of each of its runs, in the order of the pairs."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """The first server's figure by another's, within each pair."""

    of: str
    to: str
    figure: str
    by_pair: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.by_pair)

    def to_dict(self) -> dict[str, object]:
        return {
            "of": self.of,
            "to": self.to,
            "figure": self.figure,
            "by_pair": self.by_pair,
            "median": self.median,
            "min": min(self.by_pair),
            "max": max(self.by_pair),
        }


def ratios(runs: Runs, figures: Sequence[str]) -> list[Ratio]:
    """For each figure, the first server against each other one; only whole pairs count."""
    first, *others = runs
    return [
        Ratio(first, other, figure, by_pair)
        for figure in figures
        for other in others
        if (
            by_pair := [
                a[figure] / b[figure]
                for a, b in zip(runs[first], runs[other], strict=False)
                if b[figure]
            ]
        )
    ]


def table(workload: Workload, runs: Runs) -> str:
    """A workload's figures by run, and their ratios."""
    num_pairs = max(len(of_server) for of_server in runs.values())
    pairs = [f"pair {index + 1}" for index in range(num_pairs)]
    rows = [["", "", *pairs, "median", "min", "max"]]
    for figure in workload.figures:
        better = "higher" if FIGURES[figure].higher_is_better else "lower"
        label = f"{FIGURES[figure].label} ({better} is better)"
        for name, of_server in runs.items():
            rows.append([label, name, *_cells([run[figure] for run in of_server], num_pairs, 1)])
            label = ""
        rows += [
            ["", f"{ratio.of}/{ratio.to}", *_cells(ratio.by_pair, num_pairs, 3)]
            for ratio in ratios(runs, [figure])
        ]
    return f"{workload.name}: {workload.description}\n{_align(rows)}"


def _cells(values: Sequence[float], num_pairs: int, num_digits: int) -> list[str]:
    if not values:
        return [""] * (num_pairs + 3)
    all_values = [*values, statistics.median(values), min(values), max(values)]
    cells = [f"{value:.{num_digits}f}" for value in all_values]
    missing = [""] * (num_pairs - len(values))
    return [*cells[: len(values)], *missing, *cells[len(values) :]]


def _align(rows: list[list[str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
