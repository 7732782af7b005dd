"""What is the case: revisions, their replicas and what is known of each at one moment.

Plain frozen data, gathered by the controller and judged by the reconciler.
"""

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
    """How patient we are with one revision's replicas."""

    readiness_timeout_s: float = DEFAULT_READINESS_TIMEOUT_S
    """From its start until it must be ready; models may have to be downloaded on the way."""
    max_num_failed_probes: int = 3
    """A ready replica that fails so many in a row is taken for dead."""
    max_unresponsive_s: float = 600.0
    """So long one may say nothing at all while its processes are at work."""
    drain_timeout_s: float = DEFAULT_DRAIN_TIMEOUT_S
    """How long a draining replica may take to finish what it has."""
    grace_period_s: float = DEFAULT_GRACE_PERIOD_S
    """From SIGTERM to SIGKILL."""
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, slots=True)
class ObservedReplica:
    """A replica that is not gone yet."""

    replica: Replica
    is_launching: bool = False
    """Somebody is starting its process right now."""
    waits_for: str | None = None
    """GPUs, for people; empty if they are free by now. None: it waits for none."""
    start_failure: str | None = None
    """Why its start failed, if that is not in the store yet."""
    is_running: bool = True
    exit_code: int | None = None
    log_tail: str = ""
    """The last lines of its log, read once it no longer runs or answers."""
    is_healthy: bool = False
    """Its last probe succeeded."""
    num_failed_probes: int = 0
    """In a row, up to now."""
    num_timeouts_while_busy: int = 0
    """In a row, up to now: silent ones meanwhile it was at work. These have not failed."""
    unresponsive_s: float = 0.0
    """How long it had said nothing when its last probe ended, if that was silent."""
    is_unresponsive_reported: bool = False
    """People have been told that it works in silence."""
    is_stopped: bool = False
    """A signal has stopped the process that listens, and it answers nothing."""
    probe_why: str = ""
    """What the last probe saw."""
    num_outstanding: int = 0
    """Requests under way there, as the gateway says."""
    unrouted_since: int | None = None
    """Version of the first route table without it, 0 if it was never in one. None: it is in it."""
    stop_signaled_at: datetime | None = None
    """When it got its SIGTERM."""
    is_killed: bool = False
    """It got its SIGKILL."""


@dataclass(frozen=True, slots=True)
class ObservedRevision:
    revision: Revision
    replicas: tuple[ObservedReplica, ...]
    """Those that are not gone."""
    crashes: Crashes | None = None
    policy: ReplicaPolicy = field(default_factory=ReplicaPolicy)


@dataclass(frozen=True, slots=True)
class Observed:
    revisions: tuple[ObservedRevision, ...]
    gateway_version: int | None
    """Of the route table that the gateway follows. None: the gateway does not answer."""
