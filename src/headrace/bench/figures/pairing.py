"""Paired ratios between targets that were measured in interleaved rounds.

Machines drift, but conditions within one round are nearly equal. So ratios within rounds detect
differences that means of separate runs do not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from headrace.bench.figures.run_figures import Figures

MIN_ROUNDS_FOR_INTERVAL = 6
"""With fewer, even the range from the minimum to the maximum covers the true median in less than
95 % of cases (1 - 2 / 2^n)."""
NUM_RESAMPLES = 2_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class PairedRatio:
    """One figure of a target relative to the first target's, over all rounds."""

    figure: str
    """A key of COMPARED."""
    target: str
    base: str
    """The baseline target."""
    is_higher_better: bool
    median: float
    min: float
    max: float
    low: float | None
    """The 95 % bootstrap interval of the median is [low, high]; None with fewer than six rounds."""
    high: float | None
    rounds: list[float]
    """The ratio of each round in which both have the figure."""

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 1: the targets differ by more than the noise."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high

    @property
    def verdict(self) -> str:
        """The conclusion about the target relative to the base."""
        if self.low is None:
            return "too few rounds to tell"
        if not self.is_clear:
            return "no clear difference"
        return "better" if (self.median > 1) == self.is_higher_better else "worse"


@dataclass(frozen=True, slots=True)
class ComparedFigure:
    label: str
    field: str
    """Of Figures."""
    percentile: Literal["p50", "p99"] | None = None
    """Of its Distribution; None if the figure is a number."""
    is_higher_better: bool = False

    def read(self, figures: Figures) -> float | None:
        value = getattr(figures, self.field)
        if value is None or self.percentile is None:
            return cast("float | None", value)
        return cast("float", getattr(value, self.percentile))


COMPARED: dict[str, ComparedFigure] = {
    "requests_per_s": ComparedFigure("requests/s", "requests_per_s", is_higher_better=True),
    "output_tokens_per_s": ComparedFigure(
        "output tokens/s", "output_tokens_per_s", is_higher_better=True
    ),
    "latency_s_p50": ComparedFigure("latency, median", "latency_s", "p50"),
    "latency_s_p99": ComparedFigure("latency, p99", "latency_s", "p99"),
    "ttft_s_p50": ComparedFigure("TTFT, median", "ttft_s", "p50"),
    "ttft_s_p99": ComparedFigure("TTFT, p99", "ttft_s", "p99"),
    "tpot_s_p50": ComparedFigure("TPOT, median", "tpot_s", "p50"),
    "itl_s_p50": ComparedFigure("ITL, median", "itl_s", "p50"),
    "itl_s_p99": ComparedFigure("ITL, p99", "itl_s", "p99"),
    "generation_tokens_per_s_p50": ComparedFigure(
        "generation speed, median", "generation_tokens_per_s", "p50", is_higher_better=True
    ),
}
"""The compared figures, by their names in the result file."""


def turn_order(targets: Sequence[str], round_index: int) -> list[str]:
    """The order of a round: rotated, so that no target is always first, and reversed every second
    cycle, so that none always follows the same one."""
    shift = round_index % len(targets)
    rotated = [*targets[shift:], *targets[:shift]]
    return rotated[::-1] if (round_index // len(targets)) % 2 else rotated


def paired_ratios(rounds: Sequence[Mapping[str, Figures]], seed: int = 0) -> list[PairedRatio]:
    """Each target relative to the first one, for each figure that both have in a round.

    rounds: the figures by target, in the targets' order.
    """
    if not rounds:
        return []
    base, *others = rounds[0]
    return [
        ratio
        for other in others
        for name, figure in COMPARED.items()
        if (ratio := _ratio_of(name, figure, other, base, rounds, seed)) is not None
    ]


def bootstrap_median(values: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """The 95 % percentile-bootstrap interval of the median (Efron, 1979); None for fewer than six
    values."""
    if len(values) < MIN_ROUNDS_FOR_INTERVAL:
        return None
    drawn = np.random.default_rng(seed).choice(
        np.asarray(values, dtype=np.float64), size=(NUM_RESAMPLES, len(values))
    )
    medians = np.median(drawn, axis=1)
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(medians, (tail, 100 - tail))
    return float(low), float(high)


def _ratio_of(
    name: str,
    figure: ComparedFigure,
    target: str,
    base: str,
    rounds: Sequence[Mapping[str, Figures]],
    seed: int,
) -> PairedRatio | None:
    ratios = []
    for each in rounds:
        above, below = figure.read(each[target]), figure.read(each[base])
        if above is not None and below:
            ratios.append(above / below)
    if not ratios:
        return None
    interval = bootstrap_median(ratios, seed)
    return PairedRatio(
        figure=name,
        target=target,
        base=base,
        is_higher_better=figure.is_higher_better,
        median=float(np.median(ratios)),
        min=min(ratios),
        max=max(ratios),
        low=None if interval is None else interval[0],
        high=None if interval is None else interval[1],
        rounds=ratios,
    )
