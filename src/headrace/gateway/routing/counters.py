"""What is counted per revision, cheap enough for every request."""

from bisect import bisect_left
from collections.abc import Sequence

from headrace.core.gateway_stats import TTFT_BUCKETS_S

ADDED_LATENCY_BUCKETS_S = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.5, 1)


class Histogram:
    """``counts[i]`` counts values in ``(edges[i - 1], edges[i]]``; the last one, those above."""

    __slots__ = ("counts", "edges", "sum_s")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.edges, seconds)] += 1
        self.sum_s += seconds


class RevisionCounts:
    """The counters of one revision; they exist as long as its service does."""

    __slots__ = ("added_latency", "last_request_at", "num_requests_total", "num_waiting", "ttft")

    def __init__(self) -> None:
        self.num_waiting = 0
        self.num_requests_total = 0
        self.last_request_at: float | None = None
        self.ttft = Histogram(TTFT_BUCKETS_S)
        self.added_latency = Histogram(ADDED_LATENCY_BUCKETS_S)
