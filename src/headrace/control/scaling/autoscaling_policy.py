"""The autoscaling policy of a revision. Plain frozen data."""

from dataclasses import dataclass
from enum import StrEnum


class Signal(StrEnum):
    CPU = "cpu"
    """Percent of the cores that a replica may use; mean of the ready replicas."""
    MEMORY = "memory"
    """Percent of the machine's memory; mean of the ready replicas."""
    GPU = "gpu"
    """Percent of the time that its GPU is busy; mean of the ready replicas."""
    CONCURRENCY = "concurrency"
    """Open and waiting requests of the revision; the target is per replica."""
    RPS = "rps"
    """Requests of the revision per second; the target is per replica."""
    QUEUE_TIME = "queue_time"
    """Seconds that a request waits in a replica's queue; mean."""
    KV_CACHE = "kv_cache"
    """Percent of the KV cache that is in use; mean of the ready replicas."""
    TTFT = "ttft"
    """Seconds from a request's arrival to the response's first byte; 90th percentile."""


UTILIZATION_SIGNALS = frozenset({Signal.CPU, Signal.MEMORY, Signal.GPU, Signal.KV_CACHE})
"""Means over the ready replicas: inversely proportional to the number of replicas."""
LOAD_SIGNALS = frozenset({Signal.CONCURRENCY, Signal.RPS})
"""Sums over the revision: independent of the number of replicas."""
RESPONSE_SIGNALS = frozenset({Signal.QUEUE_TIME, Signal.TTFT})
"""Latencies: they show that there are too few replicas, and not by how many."""


@dataclass(frozen=True, slots=True)
class AutoscalingPolicy:
    """The first four are the revision's; the rest are defaults, documented in autoscaling.md."""

    min: int = 1
    """0: no replica without traffic."""
    max: int = 1
    signal: Signal = Signal.CONCURRENCY
    target: float = 1.0
    """In the signal's unit."""
    tolerance: float = 0.1
    """Deviation from the target, as a share of it, that is ignored."""
    up_window_s: float = 0.0
    """How long a higher number must be recommended before scaling up."""
    down_window_s: float = 300.0
    """How long a lower number must be recommended before scaling down."""
    idle_timeout_s: float = 300.0
    """With ``min`` 0: time without requests before scaling to zero."""
    max_growth: float = 2.0
    """Response signals: one step multiplies the ready replicas by at most this factor."""
    settle_s: float = 30.0
    """Response signals: time for a new replica to affect the signal."""
    drain_horizon_s: float = 120.0
    """Response signals: no further replica for a queue that will be empty within this time."""
    scale_down_threshold: float = 0.5
    """Response signals: share of the target below which one replica less is tried."""
    memory_s: float = 6 * 3600.0
    """Response signals: how long a capacity observation is valid."""
