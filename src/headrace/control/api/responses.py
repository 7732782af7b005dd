"""What the API answers with: the resources as JSON, with what people want to know of them.

Shapes only; `viewing.py` fills them. The command line reads the same shapes.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ErrorDetailView(View):
    message: str
    code: int
    """The response's status."""


class ErrorView(View):
    """What every error looks like."""

    error: ErrorDetailView


class TargetView(View):
    number: int
    port: int
    weight: int


class GatewayView(View):
    service: str
    enabled: bool
    status: str
    """``success``, ``pending`` or ``failed``."""
    message: str
    """What it waits for, or why it failed."""
    endpoint: str | None
    """The service's own address; None as long as nothing was set."""
    path_endpoint: str | None
    """The same service below the gateway's address, where names such as NAME.localhost cannot be
    resolved."""
    targets: list[TargetView]
    """As asked for."""
    applied_targets: list[TargetView]
    """As traffic flows now."""
    options: dict[str, Any]
    updated_at: datetime | None


class ServiceView(View):
    name: str
    created_at: datetime
    num_revisions: int
    gateway: GatewayView


class PortView(View):
    name: str | None
    port: int
    """As declared."""
    type: str
    host_port: int | None = None
    """On this machine; None if nothing runs."""


class GpuView(View):
    uuid: str
    index: int | None
    """As `nvidia-smi` counts; None if it is not in this machine any more."""
    share: float
    """1 is all of it."""


class ReplicaView(View):
    replica_id: str
    service: str
    revision: int
    state: str
    cause: str | None
    pid: int | None
    ports: list[PortView]
    gpus: list[GpuView] = []
    """Those that it asked for and has to itself, or shares."""
    created_at: datetime
    changed_at: datetime
    log_path: str | None


class RevisionView(View):
    service: str
    number: int
    status: str
    """``running``, ``starting``, ``idle`` (scaled to zero), ``failed``, ``terminating`` or
    ``terminated``."""
    cause: str | None
    """Why it failed, with its last lines of log."""
    message: str
    created_at: datetime
    num_desired_replicas: int
    num_ready_replicas: int
    replicas: list[ReplicaView]
    """Those that are not gone."""
    command: str
    runs_in: str
    """``container IMAGE`` or ``host``, and why."""
    ports: list[PortView]
    spec: dict[str, Any]
    notes: list[str]
    """What in its file has no effect here."""


class RunView(View):
    run_id: str
    name: str
    description: str
    tags: list[str]
    type: str
    """``batch`` or ``interactive``."""
    state: str
    cause: str | None
    created_at: datetime
    changed_at: datetime
    exit_code: int | None
    ports: list[PortView]
    pid: int | None
    gpus: list[GpuView] = []
    """Those that it asked for and has to itself, or shares."""
    folder: str | None
    reproduced_from: str | None
    command: str
    runs_in: str
    spec: dict[str, Any]
    notes: list[str]


class EventView(View):
    event_id: int
    at: datetime
    subject: str
    what: str
    why: str


class TerminatedView(View):
    revision: RevisionView
    gateway: GatewayView
    note: str
    """What became of its share of the traffic; empty if it had none."""


class KeyView(View):
    service: str
    name: str
    prefix: str
    created_at: datetime


class NewKeyView(KeyView):
    key: str
    """Shown this once."""


class TokenView(View):
    name: str
    role: str
    created_at: datetime


class NewTokenView(TokenView):
    token: str
    """Shown this once."""


class SecretView(View):
    name: str
