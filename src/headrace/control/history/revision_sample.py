"""One revision's metrics, averaged over one step of time."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class RevisionSample:
    """None: unknown, or undefined without traffic.

    The order of the fields is that of stored samples: append new ones at the end.
    """

    requests_per_s: float | None = None
    """Requests that arrived at the gateway."""
    errors_per_s: float | None = None
    """Responses of the gateway with a status of 500 or more, and those that failed midway."""
    prompt_tokens_per_s: float | None = None
    generation_tokens_per_s: float | None = None
    ttft_p50_s: float | None = None
    """Time from a request's arrival at the gateway to the first byte of its response."""
    ttft_p95_s: float | None = None
    inter_token_latency_p50_s: float | None = None
    inter_token_latency_p95_s: float | None = None
    num_running: float | None = None
    """Requests that replicas process. Of replicas without vLLM's metrics: requests in flight."""
    num_waiting: float | None = None
    """Requests in the queues of replicas and gateway."""
    kv_cache_usage: float | None = None
    """Share in use, from 0 to 1; mean of the replicas."""
    prefix_cache_hit_ratio: float | None = None
    """Share of the prompt tokens that were in the prefix cache, from 0 to 1."""
    preemptions_per_s: float | None = None
    num_ready_replicas: float | None = None


METRICS = tuple(field.name for field in fields(RevisionSample))
