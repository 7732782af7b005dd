"""Throughput over load: where it stops growing, and where its knee is. Pure; knows no HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

Axis = Literal["request_rate", "concurrency"]
Throughput = Literal["output_tokens_per_s", "requests_per_s"]

SENSITIVITY = 1.0
"""Kneedle's S: how far the curve must bend before it is said to; 1 is the paper's choice."""
SATURATED_BELOW = 0.1
"""Of the growth in load, the share that must arrive as growth in throughput."""


@dataclass(frozen=True, slots=True)
class SweepPoint:
    load: float
    """Requests a second, or requests at a time."""
    throughput: float
    run: int
    """Index of its run in the result file."""


@dataclass(frozen=True, slots=True)
class SweepCurve:
    """What the runs of a sweep make together."""

    axis: Axis
    throughput: Throughput
    points: list[SweepPoint]
    """By rising load."""
    knee: float | None
    """The load at which throughput bends towards its limit; None while the curve is straight."""
    is_saturated: bool
    """Whether the last step of load brought (almost) no more throughput."""


def curve_of(axis: Axis, throughput: Throughput, points: Sequence[SweepPoint]) -> SweepCurve:
    points = sorted(points, key=lambda point: point.load)
    loads = [point.load for point in points]
    values = [point.throughput for point in points]
    return SweepCurve(axis, throughput, points, find_knee(loads, values), is_saturated(points))


def is_saturated(points: Sequence[SweepPoint]) -> bool:
    """Whether the last step brought less than a tenth of what it would have, had throughput grown
    with load: doubling the load then brings less than 10 %."""
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
    """The load at the knee of a rising curve that flattens; None where it has none.

    Kneedle (Satopää, Albrecht, Irwin, Raghavan, "Finding a 'Kneedle' in a Haystack", 2011). Both
    axes are scaled to [0, 1]. A knee candidate is a local maximum of the height over the diagonal,
    and a knee if that height falls by more than ``sensitivity`` mean steps of the load axis before
    the next candidate. Of several knees the highest is taken. There is no smoothing: a sweep has
    few points, each the figure of many requests.

    loads: rising, each once.
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
