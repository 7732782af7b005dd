"""The observed state of revisions and replicas: the reconciler's input. Plain frozen data."""

from dataclasses import dataclass, field
from datetime import datetime

from headrace.control.manifests.fields.workload import DEFAULT_GRACE_PERIOD_S
from headrace.control.manifests.revision import (
    DEFAULT_DRAIN_TIMEOUT_S,
    DEFAULT_READINESS_TIMEOUT_S,
)
from headrace.control.replicas.backoff import Backoff, Crashes
from headrace.control.resources import Replica, Revision


@dataclass(frozen=True, slots=True)
class ReplicaPolicy:
    """Time limits of one revision's replicas."""

    readiness_timeout_s: float = DEFAULT_READINESS_TIMEOUT_S
    """From the start of its process until it is ready, the download of a model included."""
    max_num_failed_probes: int = 3
    """A ready replica that fails this many consecutive probes is dead."""
    max_unresponsive_s: float = 600.0
    """Maximum time without any response from a replica whose processes are busy."""
    drain_timeout_s: float = DEFAULT_DRAIN_TIMEOUT_S
    """Maximum time for a draining replica's open requests."""
    grace_period_s: float = DEFAULT_GRACE_PERIOD_S
    """From SIGTERM to SIGKILL."""
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, slots=True)
class ObservedReplica:
    """A live replica."""

    replica: Replica
    is_launching: bool = False
    """Its process is being started now."""
    waits_for: str | None = None
    """Why it cannot get its GPUs; empty if they are free now. None: it waits for none."""
    start_failure: str | None = None
    """Why its start failed, until that is in the store."""
    is_running: bool = True
    exit_code: int | None = None
    log_tail: str = ""
    """The last lines of its log, if it does not run or its last probe failed."""
    is_healthy: bool = False
    """Its last probe succeeded."""
    num_failed_probes: int = 0
    """Consecutive."""
    num_timeouts_while_busy: int = 0
    """Consecutive probes that timed out while it was busy. They do not count as failed."""
    unresponsive_s: float = 0.0
    """Time without any response when the last probe ended, if that one timed out."""
    is_unresponsive_reported: bool = False
    """An event says that it is unresponsive but busy."""
    is_stopped: bool = False
    """The listening process is stopped by a signal (SIGSTOP) and does not respond."""
    probe_why: str = ""
    """The last probe's result."""
    num_outstanding: int = 0
    """Its open requests, as the gateway reports."""
    unrouted_since: int | None = None
    """Version of the first route table without it; 0 if it never was in one; None if it is."""
    stop_signaled_at: datetime | None = None
    """When SIGTERM was sent."""
    is_killed: bool = False
    """SIGKILL was sent."""


@dataclass(frozen=True, slots=True)
class ObservedRevision:
    revision: Revision
    replicas: tuple[ObservedReplica, ...]
    """The live ones."""
    crashes: Crashes | None = None
    policy: ReplicaPolicy = field(default_factory=ReplicaPolicy)


@dataclass(frozen=True, slots=True)
class Observed:
    revisions: tuple[ObservedRevision, ...]
    gateway_version: int | None
    """Version of the route table that the gateway uses. None: the gateway does not respond."""
