"""Throughput over load: saturation and knee."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

Axis = Literal["request_rate", "concurrency"]
Throughput = Literal["output_tokens_per_s", "requests_per_s"]

SENSITIVITY = 1.0
"""Kneedle's S: how much the curve must flatten for a knee; 1 is the paper's default."""
SATURATED_BELOW = 0.1
"""Minimum growth of throughput, as a share of the growth of load."""


@dataclass(frozen=True, slots=True)
class SweepPoint:
    load: float
    """Requests per second, or concurrency."""
    throughput: float
    run: int
    """Index of its run in the result file."""


@dataclass(frozen=True, slots=True)
class SweepCurve:
    """The throughput curve of a sweep."""

    axis: Axis
    throughput: Throughput
    points: list[SweepPoint]
    """By increasing load."""
    knee: float | None
    """The load at which throughput flattens; None if it does not."""
    is_saturated: bool
    """Whether the last increase of load brought almost no more throughput."""


def curve_of(axis: Axis, throughput: Throughput, points: Sequence[SweepPoint]) -> SweepCurve:
    points = sorted(points, key=lambda point: point.load)
    loads = [point.load for point in points]
    values = [point.throughput for point in points]
    return SweepCurve(axis, throughput, points, find_knee(loads, values), is_saturated(points))


def is_saturated(points: Sequence[SweepPoint]) -> bool:
    """Whether throughput grew by less than a tenth of the growth of load in the last step, such as
    by less than 10 % when the load doubled."""
    if len(points) < 2:
        return False
    before, last = points[-2], points[-1]
    best = max(point.throughput for point in points[:-1])
    if best <= 0 or before.load <= 0:
        return False
    return last.throughput / best - 1 < SATURATED_BELOW * (last.load / before.load - 1)


def find_knee(
    loads: Sequence[float], values: Sequence[float], sensitivity: float = SENSITIVITY
) -> float | None:
    """The load at the knee of a concave increasing curve; None if it has none.

    Kneedle (Satopää, Albrecht, Irwin, Raghavan, "Finding a 'Kneedle' in a Haystack", 2011). Both
    axes are scaled to [0, 1]. A knee candidate is a local maximum of the height over the diagonal,
    and a knee if that height falls by more than ``sensitivity`` mean steps of the load axis before
    the next candidate. Of several knees the highest is taken. Points are not smoothed: a sweep
    has few, each an aggregate of many requests.

    loads: increasing, without duplicates.
    """
    if len(loads) < 3 or len(loads) != len(values):
        return None
    x = np.asarray(loads, dtype=np.float64)
    y = np.asarray(values, dtype=np.float64)
    if np.ptp(y) <= 0 or np.ptp(x) <= 0:
        return None
    heights = (y - y.min()) / np.ptp(y) - (x - x[0]) / np.ptp(x)
    fall = sensitivity / (len(x) - 1)
    candidates = [i for i in range(1, len(x) - 1) if heights[i - 1] < heights[i] >= heights[i + 1]]
    knees = [
        i
        for i, until in pairwise([*candidates, len(x)])
        if heights[i:until].min() < heights[i] - fall
    ]
    return float(x[max(knees, key=lambda i: heights[i])]) if knees else None
