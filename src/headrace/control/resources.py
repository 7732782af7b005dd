"""The platform's resources as plain frozen data. All times are UTC."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class ReplicaState(StrEnum):
    PENDING = "pending"
    """Created; its process has not been started, or waits for GPUs."""
    STARTING = "starting"
    """Its process runs and is not ready."""
    READY = "ready"
    DRAINING = "draining"
    """Removed from the route table; open requests finish, then it is stopped."""
    STOPPED = "stopped"
    """Ended on request."""
    FAILED = "failed"
    """Ended or killed because of an error; ``cause`` says which."""


class RevisionPhase(StrEnum):
    ACTIVE = "active"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


class GatewayStatus(StrEnum):
    SUCCESS = "success"
    """Traffic flows to the requested targets."""
    PENDING = "pending"
    """Traffic is unchanged until the requested targets are ready."""
    FAILED = "failed"
    """A requested target crash-loops; traffic is unchanged."""


class RunState(StrEnum):
    PENDING = "pending"
    IMPORTING = "importing"
    RUNNING = "running"
    EXPORTING = "exporting"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    FAILED = "failed"
    TERMINATED = "terminated"


class Role(StrEnum):
    ADMIN = "admin"
    VIEWER = "viewer"
    """Read-only access."""


class EventReason(StrEnum):
    """Stable keywords of `Event.what`, for programs. Runs use the values of `RunState` as well."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    PENDING = "pending"
    """A replica or a run waits for GPUs."""
    STARTED = "started"
    READY = "ready"
    UNRESPONSIVE = "unresponsive"
    """A replica fails its probes while its processes are busy."""
    DRAINING = "draining"
    STOPPING = "stopping"
    """SIGTERM was sent."""
    KILLED = "killed"
    STOPPED = "stopped"
    FAILED = "failed"
    SCALED = "scaled"
    TERMINATING = "terminating"
    TERMINATED = "terminated"
    TRAFFIC_SHIFTED = "traffic_shifted"
    STATUS_CHANGED = "status_changed"
    QUARANTINED = "quarantined"
    """The gateway rejects a request that crashes replicas."""


REPLICA_CHANGES: dict[ReplicaState, frozenset[ReplicaState]] = {
    ReplicaState.PENDING: frozenset(
        {ReplicaState.STARTING, ReplicaState.STOPPED, ReplicaState.FAILED}
    ),
    ReplicaState.STARTING: frozenset(
        {ReplicaState.READY, ReplicaState.DRAINING, ReplicaState.STOPPED, ReplicaState.FAILED}
    ),
    ReplicaState.READY: frozenset({ReplicaState.DRAINING, ReplicaState.FAILED}),
    ReplicaState.DRAINING: frozenset({ReplicaState.STOPPED, ReplicaState.FAILED}),
    ReplicaState.STOPPED: frozenset(),
    ReplicaState.FAILED: frozenset(),
}
"""Allowed transitions. A replica in a final state is replaced, never restarted."""

RUN_CHANGES: dict[RunState, frozenset[RunState]] = {
    RunState.PENDING: frozenset({RunState.IMPORTING, RunState.TERMINATED, RunState.FAILED}),
    RunState.IMPORTING: frozenset({RunState.RUNNING, RunState.TERMINATING, RunState.FAILED}),
    RunState.RUNNING: frozenset({RunState.EXPORTING, RunState.TERMINATING, RunState.FAILED}),
    RunState.EXPORTING: frozenset({RunState.COMPLETED, RunState.FAILED, RunState.TERMINATING}),
    RunState.TERMINATING: frozenset({RunState.TERMINATED, RunState.FAILED}),
    RunState.COMPLETED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.TERMINATED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RevisionKey:
    """Identifies a revision: its service and its number."""

    service: str
    number: int

    def __str__(self) -> str:
        return f"{self.service}/{self.number}"


@dataclass(frozen=True, slots=True)
class Revision:
    """An immutable snapshot of one deployment; only phase and num_desired_replicas change."""

    service: str
    number: int
    """From 1 in each service."""
    spec: dict[str, Any]
    """A ``RevisionSpec`` as JSON."""
    phase: RevisionPhase
    num_desired_replicas: int
    """The autoscaler's last decision."""
    created_at: datetime

    @property
    def key(self) -> RevisionKey:
        return RevisionKey(self.service, self.number)


@dataclass(frozen=True, slots=True)
class ProcessHandle:
    """A process group on this machine. The start time distinguishes it from a recycled pid."""

    pid: int
    """Leader of its own process group and session."""
    started_at: float
    """Creation time as reported by the operating system: on Linux in seconds since boot."""


@dataclass(frozen=True, slots=True)
class Replica:
    replica_id: str
    """``SERVICE-NUMBER-xxxxx``; never reused."""
    service: str
    revision: int
    state: ReplicaState
    created_at: datetime
    changed_at: datetime
    """When ``state`` last changed."""
    cause: str | None = None
    """Why it is in this state."""
    process: ProcessHandle | None = None
    host_ports: dict[int, int] = field(default_factory=dict)
    """Port on this machine by declared port."""
    log_path: str | None = None
    gpus: dict[str, float] = field(default_factory=dict)
    """Assigned share of each GPU (1 is the whole GPU) by UUID, until it reaches a final state."""

    @property
    def revision_key(self) -> RevisionKey:
        return RevisionKey(self.service, self.revision)

    @property
    def is_gone(self) -> bool:
        """It is in a final state."""
        return not REPLICA_CHANGES[self.state]


@dataclass(frozen=True, slots=True)
class Target:
    """A share of a service's traffic."""

    number: int
    """Of the revision."""
    port: int
    weight: int
    """Percent of the service's traffic."""


@dataclass(frozen=True, slots=True)
class Gateway:
    service: str
    is_enabled: bool
    targets: tuple[Target, ...]
    """Requested."""
    applied_targets: tuple[Target, ...]
    """In effect now."""
    status: GatewayStatus
    message: str
    """Reason of the status; empty on success."""
    options: dict[str, Any]
    """``sticky``, ``limits`` and ``forward_key`` of its ``GatewaySpec``, as JSON."""
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    run_id: str
    """Twelve digits."""
    name: str
    spec: dict[str, Any]
    """A ``RunSpec`` as JSON."""
    state: RunState
    created_at: datetime
    changed_at: datetime
    cause: str | None = None
    process: ProcessHandle | None = None
    host_ports: dict[int, int] = field(default_factory=dict)
    folder: str | None = None
    """With its imports, its log and its exit code."""
    exit_code: int | None = None
    reproduced_from: str | None = None
    gpus: dict[str, float] = field(default_factory=dict)
    """Assigned share of each GPU (1 is the whole GPU) by UUID, until it reaches a final state."""

    @property
    def is_over(self) -> bool:
        """It is in a final state."""
        return not RUN_CHANGES[self.state]


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a resource."""

    at: datetime
    subject: str
    """``service openllm``, ``revision openllm/2``, ``replica openllm-2-x7k2p``, ``run 3693…``."""
    what: str
    """A keyword: see `EventReason`. Events of older versions have free text."""
    why: str
    """The explanation, for users."""
    service: str | None = None
    run_id: str | None = None
    event_id: int | None = None
    """Increases; assigned by the store."""


@dataclass(frozen=True, slots=True)
class Token:
    """Authenticates to the control plane's API. Only a hash of the secret is stored."""

    name: str
    role: Role
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """Authenticates to one service at the gateway. Only a hash of the secret is stored."""

    service: str
    name: str
    key_hash: str
    prefix: str
    """Its first characters, to identify it in listings."""
    created_at: datetime
