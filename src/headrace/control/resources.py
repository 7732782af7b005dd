"""The nouns of the platform, as the store keeps them and everything else passes them on.

Plain frozen data: knows no database, no process and no HTTP. All times are UTC.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class ReplicaState(StrEnum):
    PENDING = "pending"
    """Decided on; nothing is running yet."""
    STARTING = "starting"
    """Its process runs and is not ready yet."""
    READY = "ready"
    DRAINING = "draining"
    """Out of the route table; finishes what it has, then is stopped."""
    STOPPED = "stopped"
    """Gone because it was told to go."""
    FAILED = "failed"
    """Gone, or killed, because something went wrong; ``cause`` says what."""


class RevisionPhase(StrEnum):
    ACTIVE = "active"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


class GatewayStatus(StrEnum):
    SUCCESS = "success"
    """Traffic flows as asked."""
    PENDING = "pending"
    """Traffic stays as it was until what was asked for is ready."""
    FAILED = "failed"
    """What was asked for cannot become ready; traffic stays as it was."""


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
    """May look at everything and change nothing."""


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
"""What may follow each state. A replica that is gone never comes back; another takes its place."""

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
    """As the autoscaler decided last."""
    created_at: datetime

    @property
    def key(self) -> RevisionKey:
        return RevisionKey(self.service, self.number)


@dataclass(frozen=True, slots=True)
class ProcessHandle:
    """A process group on this machine that can be told from one that got its pid later."""

    pid: int
    """Leader of its own process group and session."""
    started_at: float
    """Creation time as the operating system tells it, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Replica:
    replica_id: str
    """``SERVICE-NUMBER-xxxxx``: unique for all time."""
    service: str
    revision: int
    state: ReplicaState
    created_at: datetime
    changed_at: datetime
    """When ``state`` last changed."""
    cause: str | None = None
    """Why it is in this state, for people."""
    process: ProcessHandle | None = None
    host_ports: dict[int, int] = field(default_factory=dict)
    """Port on this machine by declared port."""
    log_path: str | None = None
    gpus: dict[str, float] = field(default_factory=dict)
    """How much of each GPU it has, by UUID; from before its process starts until it is gone."""

    @property
    def revision_key(self) -> RevisionKey:
        return RevisionKey(self.service, self.revision)

    @property
    def is_gone(self) -> bool:
        """Nothing follows its state."""
        return not REPLICA_CHANGES[self.state]


@dataclass(frozen=True, slots=True)
class Target:
    """A share of a service's traffic."""

    number: int
    """Of the revision."""
    port: int
    weight: int


@dataclass(frozen=True, slots=True)
class Gateway:
    service: str
    is_enabled: bool
    targets: tuple[Target, ...]
    """As asked for."""
    applied_targets: tuple[Target, ...]
    """As traffic flows now."""
    status: GatewayStatus
    message: str
    """What it waits for, or why it failed; empty on success."""
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
    """Holds its imports, its log and its exit code."""
    exit_code: int | None = None
    reproduced_from: str | None = None
    gpus: dict[str, float] = field(default_factory=dict)
    """How much of each GPU it has, by UUID; from before its process starts until it is over."""

    @property
    def is_over(self) -> bool:
        """Nothing follows its state."""
        return not RUN_CHANGES[self.state]


@dataclass(frozen=True, slots=True)
class Event:
    """One change: when, what and why."""

    at: datetime
    subject: str
    """``service openllm``, ``revision openllm/2``, ``replica openllm-2-x7k2p``, ``run 3693…``."""
    what: str
    why: str
    service: str | None = None
    run_id: str | None = None
    event_id: int | None = None
    """Grows; given by the store."""


@dataclass(frozen=True, slots=True)
class Token:
    """Opens the control plane's API. Only the hash of the secret is kept."""

    name: str
    role: Role
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """Opens one service at the gateway. Only the hash of the secret is kept."""

    service: str
    name: str
    key_hash: str
    prefix: str
    """Its first characters, to tell keys apart in a listing."""
    created_at: datetime
