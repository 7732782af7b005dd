"""What a revision's replicas are scaled by, and how carefully.

Plain frozen data: knows no measurement and no replica.
"""

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
    """Requests of the revision, under way and waiting; the target is for one replica."""
    RPS = "rps"
    """Requests of the revision that come in a second; the target is for one replica."""
    QUEUE_TIME = "queue_time"
    """Seconds that a request waits in a replica before it is worked on; mean."""
    KV_CACHE = "kv_cache"
    """Percent of the KV cache that is in use; mean of the ready replicas."""
    TTFT = "ttft"
    """Seconds from a request's arrival to its answer's first byte; 90th percentile."""


UTILIZATION_SIGNALS = frozenset({Signal.CPU, Signal.MEMORY, Signal.GPU, Signal.KV_CACHE})
"""Means over the ready replicas: more replicas bring them down in proportion."""
LOAD_SIGNALS = frozenset({Signal.CONCURRENCY, Signal.RPS})
"""Sums over the revision: they tell how many replicas are needed, whatever there are."""
RESPONSE_SIGNALS = frozenset({Signal.QUEUE_TIME, Signal.TTFT})
"""What clients feel: it says that there are too few replicas, and not by how many."""


@dataclass(frozen=True, slots=True)
class AutoscalingPolicy:
    """The first four come from the revision; the rest suits most and is named in the docs."""

    min: int = 1
    """0: no replica while nobody asks for anything."""
    max: int = 1
    signal: Signal = Signal.CONCURRENCY
    target: float = 1.0
    """In the signal's unit."""
    tolerance: float = 0.1
    """Share of the target by which a signal may miss it before anything is done."""
    up_window_s: float = 0.0
    """A need must have lasted so long before it is met."""
    down_window_s: float = 300.0
    """Replicas go when nothing in so long a time needed them."""
    idle_timeout_s: float = 300.0
    """With ``min`` 0: so long without a request, and the last replica goes."""
    max_growth: float = 2.0
    """Response signals: one step multiplies the ready replicas by this at most."""
    settle_s: float = 30.0
    """Response signals: a new replica is given so long to show in the signal."""
    drain_horizon_s: float = 120.0
    """Response signals: a queue that will be gone within so long needs no further replica."""
    scale_down_threshold: float = 0.5
    """Response signals: below this share of the target, fewer replicas might do."""
    memory_s: float = 6 * 3600.0
    """Response signals: how long it is remembered that a number of replicas was too small."""
