"""What the reconciler can ask for.

Plain frozen data: knows neither how an action is decided on nor how it is carried out.
"""

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
    """Start one that waits for GPUs, or note what it waits for now."""

    replica: Replica


@dataclass(frozen=True, slots=True)
class MarkReady:
    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class FailReplica:
    """Kill what is left of it, the whole group, and mark it failed."""

    replica: Replica
    cause: str
    is_crash: bool
    """It counts for the backoff: the replica's own doing, not ours."""


@dataclass(frozen=True, slots=True)
class ReportUnresponsive:
    """Tell people that it answers no probe and yet is left alone."""

    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class DrainReplica:
    """Take it out of the route table; it is stopped when its work is done."""

    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class StopReplica:
    """Send SIGTERM."""

    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class KillReplica:
    """Send SIGKILL: it did not heed the SIGTERM in time."""

    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class MarkStopped:
    replica: Replica
    why: str


@dataclass(frozen=True, slots=True)
class FinishTermination:
    """The revision's last replica is gone."""

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
