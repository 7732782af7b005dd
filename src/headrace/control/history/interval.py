"""What happened to a revision in an interval, in a form that adds up: the sum of two intervals is
the interval that covers both. So samples of every length are exact, percentiles included. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from headrace.control.history.revision_sample import RevisionSample
from headrace.control.scaling.signals import quantile


@dataclass(frozen=True, slots=True)
class Ratio:
    """A rate (events by seconds), a mean (sum by number) or a share (part by whole)."""

    total: float = 0.0
    weight: float = 0.0
    """0: unknown."""

    def __add__(self, other: Ratio) -> Ratio:
        return Ratio(self.total + other.total, self.weight + other.weight)

    @property
    def value(self) -> float | None:
        return self.total / self.weight if self.weight > 0 else None


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many values were in each bucket, by upper bound; the last bound is infinity."""

    counts: Mapping[float, float] = field(default_factory=dict)

    def __add__(self, other: Distribution) -> Distribution:
        counts = dict(self.counts)
        for bound, count in other.counts.items():
            counts[bound] = counts.get(bound, 0.0) + count
        return Distribution(counts)

    @property
    def num(self) -> float:
        return sum(self.counts.values())

    def percentile(self, share: float) -> float | None:
        """None without values, or without a finite bound."""
        edges = sorted(bound for bound in self.counts if bound != float("inf"))
        if not edges or self.num <= 0:
            return None
        counts = [*(self.counts[edge] for edge in edges), self.counts.get(float("inf"), 0.0)]
        return quantile(counts, edges, share)


@dataclass(frozen=True, slots=True)
class Interval:
    """Of one revision. Times are in seconds."""

    requests: Ratio = Ratio()
    errors: Ratio = Ratio()
    prompt_tokens: Ratio = Ratio()
    generation_tokens: Ratio = Ratio()
    preemptions: Ratio = Ratio()
    running: Ratio = Ratio()
    waiting: Ratio = Ratio()
    ready_replicas: Ratio = Ratio()
    kv_cache_usage: Ratio = Ratio()
    prefix_cache_hits: Ratio = Ratio()
    ttft: Distribution = Distribution()
    """Of all responses."""
    stream_ttft: Distribution = Distribution()
    """Of event streams only."""
    inter_token: Distribution = Distribution()

    def __add__(self, other: Interval) -> Interval:
        return Interval(*(getattr(self, name) + getattr(other, name) for name in _PARTS))


_PARTS = tuple(part.name for part in fields(Interval))


def sample_of(interval: Interval) -> RevisionSample:
    """The interval's means, rates and percentiles."""
    # A response that is not streamed has no first token: its first byte comes with its last.
    ttft = interval.stream_ttft if interval.stream_ttft.num > 0 else interval.ttft
    return RevisionSample(
        requests_per_s=interval.requests.value,
        errors_per_s=interval.errors.value,
        prompt_tokens_per_s=interval.prompt_tokens.value,
        generation_tokens_per_s=interval.generation_tokens.value,
        ttft_p50_s=ttft.percentile(0.5),
        ttft_p95_s=ttft.percentile(0.95),
        inter_token_latency_p50_s=interval.inter_token.percentile(0.5),
        inter_token_latency_p95_s=interval.inter_token.percentile(0.95),
        num_running=interval.running.value,
        num_waiting=interval.waiting.value,
        kv_cache_usage=interval.kv_cache_usage.value,
        prefix_cache_hit_ratio=interval.prefix_cache_hits.value,
        preemptions_per_s=interval.preemptions.value,
        num_ready_replicas=interval.ready_replicas.value,
    )
