"""Computes the autoscaler's signals from samples of gateway, replicas and processes. Pure.

Totals are counters, which reset to 0 when their process restarts; only their increase within the
window is used.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from headrace.control.processes.process_usage import Allowance, ProcessUsage
from headrace.control.scaling.autoscaler import SignalValues
from headrace.control.scaling.autoscaling_policy import Signal
from headrace.control.scaling.replica_metrics import ReplicaPage
from headrace.core.gateway.stats import TTFT_BUCKETS_S, RevisionStats

WINDOW_S = 15.0
"""The window of the signals: long enough for a mean, short enough to be current."""

TTFT_QUANTILE = 0.9


@dataclass(frozen=True, slots=True)
class Sample:
    """One revision at one moment."""

    at_s: float
    num_ready: int
    gateway: RevisionStats | None = None
    """None: the gateway does not respond."""
    pages: Mapping[str, ReplicaPage] = field(default_factory=dict)
    """Metrics of the ready replicas that export them, by replica id."""
    usages: Mapping[str, ProcessUsage] = field(default_factory=dict)
    """Of the ready replicas, by replica id."""
    allowance: Allowance | None = None
    """Of each replica. None: unknown, and so are the percentages."""


def recent(samples: Sequence[Sample], now_s: float, window_s: float = WINDOW_S) -> list[Sample]:
    """The samples of the window, and the last one before it, as the base of counters."""
    before = [sample for sample in samples if sample.at_s < now_s - window_s]
    return [*before[-1:], *(r for r in samples if r.at_s >= now_s - window_s)]


def signal_values_of(samples: Sequence[Sample]) -> SignalValues:
    """The signals at the last sample. ``samples``: oldest first, at least one."""
    latest = samples[-1]
    values = {
        Signal.CPU: _cpu(latest),
        Signal.MEMORY: _memory(latest),
        Signal.GPU: _mean(usage.gpu_percent for usage in latest.usages.values()),
        Signal.KV_CACHE: _kv_cache(latest),
        Signal.QUEUE_TIME: _queue_time(samples),
        Signal.CONCURRENCY: _concurrency(samples),
        Signal.RPS: _rps(samples),
        Signal.TTFT: _ttft(samples),
    }
    gateway = latest.gateway
    return SignalValues(
        num_ready=latest.num_ready,
        values={signal: value for signal, value in values.items() if value is not None},
        num_waiting=None if gateway is None else gateway.num_waiting,
        num_outstanding=None if gateway is None else gateway.num_outstanding,
        last_request_age_s=None if gateway is None else gateway.last_request_age_s,
    )


def _cpu(sample: Sample) -> float | None:
    num_cores = _mean(usage.num_busy_cores for usage in sample.usages.values())
    if num_cores is None or sample.allowance is None:
        return None
    return 100.0 * num_cores / sample.allowance.num_cores


def _memory(sample: Sample) -> float | None:
    num_bytes = _mean(float(usage.num_bytes) for usage in sample.usages.values())
    if num_bytes is None or sample.allowance is None:
        return None
    return 100.0 * num_bytes / sample.allowance.num_bytes


def _concurrency(samples: Sequence[Sample]) -> float | None:
    if samples[-1].gateway is None:
        return None
    return _mean(
        float(sample.gateway.num_outstanding + sample.gateway.num_waiting)
        for sample in samples
        if sample.gateway is not None
    )


def _rps(samples: Sequence[Sample]) -> float | None:
    known = _with_gateway(samples)
    elapsed_s = _elapsed_s(known)
    if samples[-1].gateway is None or elapsed_s <= 0:
        return None
    return _growth(known, lambda stats: stats.num_requests_total) / elapsed_s


def _ttft(samples: Sequence[Sample]) -> float | None:
    known = _with_gateway(samples)
    elapsed_s = _elapsed_s(known)
    latest = samples[-1].gateway
    if latest is None or elapsed_s <= 0:
        return None
    counts = [
        _growth(known, partial(_count_in_bucket, index)) for index in range(len(latest.ttft_counts))
    ]
    if sum(counts) > 0:
        return quantile(counts, TTFT_BUCKETS_S, TTFT_QUANTILE)
    if latest.num_waiting > 0:
        return elapsed_s  # no first byte in the whole window, while requests wait
    return 0.0 if latest.num_outstanding == 0 else None


def _count_in_bucket(index: int, stats: RevisionStats) -> int:
    return stats.ttft_counts[index] if index < len(stats.ttft_counts) else 0


def quantile(counts: Sequence[float], edges: Sequence[float], share: float) -> float:
    """A quantile of a histogram with upper ``edges`` and one more bucket above them.

    Interpolates linearly within a bucket; values above the last edge count as that edge, as in
    Prometheus' ``histogram_quantile``.
    """
    rank = share * sum(counts)
    lower = 0.0
    for count, upper in zip(counts, edges, strict=False):
        if rank <= count and count > 0:
            return lower + (upper - lower) * rank / count
        rank -= count
        lower = upper
    return edges[-1]


def _kv_cache(sample: Sample) -> float | None:
    share = _mean(page.kv_cache_usage for page in sample.pages.values())
    return None if share is None else 100.0 * share


def _queue_time(samples: Sequence[Sample]) -> float | None:
    """How long requests wait now, by Little's law: mean queue length over throughput.

    The replicas' own totals of queue time include a request only when it has finished, so they lag
    behind the queue by a minute.
    """
    if not samples[-1].pages:
        return None
    num_waiting = _mean(_num_waiting(sample) for sample in samples if sample.pages)
    if not num_waiting:
        return 0.0
    elapsed_s = _elapsed_s(samples)
    num_left = sum(_num_left(earlier, later) for earlier, later in pairwise(samples))
    # With no throughput, requests have waited for about the whole window.
    return num_waiting * elapsed_s / num_left if num_left > 0 else elapsed_s


def _num_waiting(sample: Sample) -> float:
    return sum(page.num_waiting for page in sample.pages.values())


def _num_left(earlier: Sample, later: Sample) -> float:
    """How many requests replicas finished in between; a restarted replica counts as 0."""
    return sum(
        max(page.num_finished_total - before.num_finished_total, 0.0)
        for replica_id, page in later.pages.items()
        if (before := earlier.pages.get(replica_id)) is not None
    )


def _growth(samples: Sequence[Sample], total: Callable[[RevisionStats], int]) -> int:
    """The increase of a counter of the gateway, across its restarts."""
    totals = [total(sample.gateway) for sample in samples if sample.gateway is not None]
    return sum(
        later - earlier if later >= earlier else later for earlier, later in pairwise(totals)
    )


def _with_gateway(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.gateway is not None]


def _elapsed_s(samples: Sequence[Sample]) -> float:
    return samples[-1].at_s - samples[0].at_s if samples else 0.0


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
