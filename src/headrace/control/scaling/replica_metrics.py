"""Parses the metrics for autoscaling from a replica's ``/metrics`` page.

The metric names are vLLM's, which Headrace's server exports too.
"""

import math
import re
from dataclasses import dataclass

_WANTED = re.compile(
    r"^vllm:(num_requests_waiting|kv_cache_usage_perc|gpu_cache_usage_perc"
    r"|request_queue_time_seconds_count)(?:\{[^}]*\})? +(\S+)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class ReplicaPage:
    """One replica's metrics at one moment; ``_total`` counts since its start."""

    num_waiting: float
    """Requests in its queue."""
    kv_cache_usage: float | None
    """Share in use, from 0 to 1."""
    num_finished_total: float
    """Finished requests."""


def parse_page(text: str) -> ReplicaPage | None:
    """The metrics of a page in Prometheus' text format, summed over its engines; None if it has
    none of them.

    Other lines are skipped unparsed: pages are long and read often.
    """
    found: dict[str, list[float]] = {}
    for name, written in _WANTED.findall(text):
        value = _number(written)
        if value is not None:
            found.setdefault(name, []).append(value)
    if "num_requests_waiting" not in found:
        return None
    usages = found.get("kv_cache_usage_perc") or found.get("gpu_cache_usage_perc")
    return ReplicaPage(
        num_waiting=sum(found["num_requests_waiting"]),
        kv_cache_usage=sum(usages) / len(usages) if usages else None,
        num_finished_total=sum(found.get("request_queue_time_seconds_count", ())),
    )


def _number(written: str) -> float | None:
    try:
        value = float(written)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
