"""Mean, standard deviation and percentiles of values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Distribution:
    """Summary statistics, in the unit of the values."""

    num: int
    """Number of values; at least one."""
    mean: float
    std: float
    """Population standard deviation (divided by n), as in ``vllm bench serve``."""
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float

    @property
    def median(self) -> float:
        return self.p50


def distribution_of(values: Sequence[float]) -> Distribution | None:
    """None if there are no values.

    Percentile q of n sorted values is at position (n - 1) * q / 100, interpolated linearly
    (numpy's default, as in vLLM).
    """
    if not len(values):
        return None
    array = np.asarray(values, dtype=np.float64)
    p90, p95, p99 = (float(value) for value in np.percentile(array, (90, 95, 99)))
    return Distribution(
        num=len(array),
        mean=float(array.mean()),
        std=float(array.std()),
        min=float(array.min()),
        p50=float(np.median(array)),  # percentile 50 may be off in its last bit
        p90=p90,
        p95=p95,
        p99=p99,
        max=float(array.max()),
    )
