"""What is counted, cheap enough for every request."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from headrace.core.gateway.stats import INTER_TOKEN_BUCKETS_S, TTFT_BUCKETS_S

ADDED_LATENCY_BUCKETS_S = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
QUEUE_BUCKETS_S = TTFT_BUCKETS_S

TrafficLabels = tuple[int | None, str, str]
"""Revision, name of the API key, model. None or empty: the request had none."""


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

    def observe_all(self, values: Sequence[float]) -> None:
        """In half the time of observing one after the other."""
        in_order = sorted(values)
        num_values, counts = len(in_order), self.counts
        begin = 0
        for index, edge in enumerate(self.edges):
            if begin == num_values:
                break
            end = bisect_right(in_order, edge, begin)
            counts[index] += end - begin
            begin = end
        counts[-1] += num_values - begin
        self.sum_s += sum(in_order)


class RevisionCounts:
    """The counters of one revision; they exist as long as its service does."""

    __slots__ = ("added_latency", "last_request_at", "num_requests_total", "num_waiting", "ttft")

    def __init__(self) -> None:
        self.num_waiting = 0
        self.num_requests_total = 0
        self.last_request_at: float | None = None
        self.ttft = Histogram(TTFT_BUCKETS_S)
        self.added_latency = Histogram(ADDED_LATENCY_BUCKETS_S)


class TrafficCounts:
    """The counters of one service's requests with the same revision, key and model."""

    __slots__ = (
        "errors",
        "inter_token",
        "num_cached_tokens",
        "num_completion_tokens",
        "num_failed",
        "num_prompt_tokens",
        "num_retries",
        "num_without_usage",
        "queue",
        "responses",
        "stream_ttft",
    )

    def __init__(self) -> None:
        self.responses: dict[int, int] = {}
        """By status."""
        self.errors: dict[str, int] = {}
        """By reason: the gateway's error codes, and `REPLICA_ERROR`."""
        self.num_failed = 0
        """Requests with an error that is not the client's: without the gateway's 4xx."""
        self.num_retries = 0
        self.num_prompt_tokens = 0
        self.num_completion_tokens = 0
        self.num_cached_tokens = 0
        self.num_without_usage = 0
        """Complete responses to POST requests that are not counted in tokens."""
        self.queue = Histogram(QUEUE_BUCKETS_S)
        """Of the requests that were queued."""
        self.stream_ttft = Histogram(TTFT_BUCKETS_S)
        self.inter_token = Histogram(INTER_TOKEN_BUCKETS_S)

    def count_error(self, reason: str, status: int) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1
        if not 400 <= status < 500:
            self.num_failed += 1


REPLICA_ERROR = "replica_error"
"""A replica's 5xx, or a stream that it ended with an error event."""
