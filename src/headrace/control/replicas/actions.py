"""Actions that the reconciler returns and the executor performs. Plain frozen data."""

from dataclasses import dataclass

from headrace.control.resources import Replica


@dataclass(frozen=True, slots=True)
class StartReplica:
    """Add a replica and start its process."""

    service: str
    revision: int
    why: str


@dataclass(frozen=True, slots=True)
class RetryStart:
    """Start a replica that waits for GPUs, or record what it waits for now."""

    replica: Replica


@dataclass(frozen=True, slots=True)
class MarkReady:
    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class FailReplica:
    """Kill its process group and mark it failed."""

    replica: Replica
    cause: str
    is_crash: bool
    """Whether it counts towards the crash backoff."""


@dataclass(frozen=True, slots=True)
class ReportUnresponsive:
    """Record an event: its probes time out, but it is not restarted because it is busy."""

    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class DrainReplica:
    """Remove it from the route table; it is stopped when its open requests have finished."""

    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class StopReplica:
    """Send SIGTERM."""

    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class KillReplica:
    """Send SIGKILL: the grace period after SIGTERM is over."""

    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class MarkStopped:
    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class FinishTermination:
    """Mark a revision terminated: its last replica is gone."""

    service: str
    revision: int


Action = (
    StartReplica
    | RetryStart
    | MarkReady
    | FailReplica
    | ReportUnresponsive
    | DrainReplica
    | StopReplica
    | KillReplica
    | MarkStopped
    | FinishTermination
)
