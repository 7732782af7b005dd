"""A count of seconds by bucket, cheap enough for every request.

Knows no labels and no text format.
"""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """``counts[i]`` is how many were in ``(edges[i - 1], edges[i]]``; one more counts the rest."""

    __slots__ = ("counts", "edges", "sum_s")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.edges, seconds)] += 1
        self.sum_s += seconds
