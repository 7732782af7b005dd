"""Parses a replica's ``/metrics`` page, for autoscaling and for the history.

The metric names are vLLM's, older ones included, which Headrace's server exports too.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_WANTED = re.compile(
    r"^vllm:(num_requests_waiting|num_requests_running"
    r"|kv_cache_usage_perc|gpu_cache_usage_perc"
    r"|request_queue_time_seconds_count|prompt_tokens_total|generation_tokens_total"
    r"|(?:gpu_)?prefix_cache_queries_total|(?:gpu_)?prefix_cache_hits_total"
    r"|num_preemptions_total"
    r"|inter_token_latency_seconds_bucket|time_per_output_token_seconds_bucket)"
    r"(?:\{([^}\n]*)\})? +(\S+)",  # never beyond the line: the time stays linear
    re.MULTILINE,
)
_MAX_VALUE = 1e18
"""Of a valid metric: sums of such values stay finite. Replicas are any command of a user."""
_MAX_NUM_BUCKETS = 200
"""Of a valid histogram."""
_UPPER_BOUND = re.compile(r'(?:^|,)le="([^"]+)"')


@dataclass(frozen=True, slots=True)
class ReplicaPage:
    """One replica's metrics at one moment; ``_total`` counts since its start.

    None: not exported.
    """

    num_waiting: float
    """Requests in its queue."""
    kv_cache_usage: float | None
    """Share in use, from 0 to 1."""
    num_finished_total: float
    """Finished requests."""
    num_running: float = 0.0
    """Requests that are being processed."""
    prompt_tokens_total: float | None = None
    generation_tokens_total: float | None = None
    prefix_cache_queries_total: float | None = None
    """Prompt tokens that were looked up in the prefix cache."""
    prefix_cache_hits_total: float | None = None
    """Of them, those that were found."""
    preemptions_total: float | None = None
    inter_token_counts: Mapping[float, float] = field(default_factory=dict)
    """Times between tokens, by upper bound in seconds; not cumulative."""


def parse_page(text: str) -> ReplicaPage | None:
    """The metrics of a page in Prometheus' text format, summed over its engines; None if it has
    none of them.

    Other lines are skipped unparsed: pages are long and read often.
    """
    found: dict[str, list[float]] = {}
    buckets: dict[str, dict[float, float]] = {}
    for name, labels, written in _WANTED.findall(text):
        value = _number(written)
        if value is None:
            continue
        if not name.endswith("_bucket"):
            found.setdefault(name, []).append(value)
        elif (bound := _upper_bound(labels)) is not None:
            counts = buckets.setdefault(name, {})
            counts[bound] = counts.get(bound, 0.0) + value
    if "num_requests_waiting" not in found:
        return None

    def total(*names: str) -> float | None:
        """Of the first name that the page has."""
        return next((sum(found[name]) for name in names if name in found), None)

    usages = found.get("kv_cache_usage_perc") or found.get("gpu_cache_usage_perc")
    return ReplicaPage(
        num_waiting=sum(found["num_requests_waiting"]),
        kv_cache_usage=sum(usages) / len(usages) if usages else None,
        num_finished_total=total("request_queue_time_seconds_count") or 0.0,
        num_running=total("num_requests_running") or 0.0,
        prompt_tokens_total=total("prompt_tokens_total"),
        generation_tokens_total=total("generation_tokens_total"),
        prefix_cache_queries_total=total(
            "prefix_cache_queries_total", "gpu_prefix_cache_queries_total"
        ),
        prefix_cache_hits_total=total("prefix_cache_hits_total", "gpu_prefix_cache_hits_total"),
        preemptions_total=total("num_preemptions_total"),
        inter_token_counts=_counts_in_buckets(
            buckets.get("inter_token_latency_seconds_bucket")
            or buckets.get("time_per_output_token_seconds_bucket")
            or {}
        ),
    )


def _counts_in_buckets(cumulative: Mapping[float, float]) -> Mapping[float, float]:
    counts = {}
    if len(cumulative) > _MAX_NUM_BUCKETS:
        return {}
    below = 0.0
    for bound in sorted(cumulative):
        counts[bound] = max(cumulative[bound] - below, 0.0)
        below = cumulative[bound]
    return counts


def _upper_bound(labels: str) -> float | None:
    """Infinity for the last bucket."""
    found = _UPPER_BOUND.search(labels)
    try:
        bound = math.nan if found is None else float(found[1])
    except ValueError:
        return None
    return None if math.isnan(bound) else bound


def _number(written: str) -> float | None:
    try:
        value = float(written)
    except ValueError:
        return None
    return value if 0.0 <= value <= _MAX_VALUE else None
