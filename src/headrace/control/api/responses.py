"""The schemas of the API's responses. The command line parses them with the same models."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ErrorDetailView(View):
    message: str
    """For users; may change between versions."""
    type: str
    """A stable code, for programs: ``not_found``, ``conflict``, ``invalid_manifest``, ..."""
    code: int
    """The response's status."""


class ErrorView(View):
    """The body of every error response."""

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
    """Reason of the status."""
    endpoint: str | None
    """The service's address; None if it is not enabled."""
    path_endpoint: str | None
    """The service's address for clients that cannot resolve NAME.localhost."""
    targets: list[TargetView]
    """Requested."""
    applied_targets: list[TargetView]
    """In effect now."""
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
    """On this machine; None if no process runs."""


class GpuView(View):
    uuid: str
    index: int | None
    """As in `nvidia-smi`; None if it is no longer in this machine."""
    share: float
    """1 is the whole GPU."""


class ReplicaView(View):
    replica_id: str
    service: str
    revision: int
    state: str
    cause: str | None
    pid: int | None
    ports: list[PortView]
    gpus: list[GpuView] = []
    """Its assigned GPUs."""
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
    """Why it failed, with the last lines of the log."""
    message: str
    created_at: datetime
    num_desired_replicas: int
    num_ready_replicas: int
    replicas: list[ReplicaView]
    """The live ones."""
    command: str
    runs_in: str
    """``container IMAGE`` or ``host``, with the reason."""
    ports: list[PortView]
    spec: dict[str, Any]
    notes: list[str]
    """Keys of its manifest that have no effect, and likely mistakes."""


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
    """Its assigned GPUs."""
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
    """A stable keyword, such as ``created``, ``ready``, ``scaled`` or ``failed``."""
    why: str
    """The explanation, for users."""


class TerminatedView(View):
    revision: RevisionView
    gateway: GatewayView
    note: str
    """Where its share of the traffic goes; empty if it had none."""


class KeyView(View):
    service: str
    name: str
    prefix: str
    created_at: datetime


class NewKeyView(KeyView):
    key: str
    """Returned only once."""


class TokenView(View):
    name: str
    role: str
    created_at: datetime


class NewTokenView(TokenView):
    token: str
    """Returned only once."""


class SecretView(View):
    name: str


class DashboardLinkView(View):
    """A link that signs one browser in to the dashboard."""

    path: str
    """Of the control plane's address."""
    expires_in_s: float
