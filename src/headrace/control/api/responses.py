"""The schemas of the API's responses. The command line parses them with the same models."""

from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        defer_build=True,  # a command parses one or two of them
    )


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
    memory_bytes: int | None = None
    """Resident memory of all its processes. This and the next four are sampled every 15 s while it
    is ready or draining; null if unknown, or not exported by its server."""
    cpu_cores: float | None = None
    """Cores in use, mean of the last 15 s."""
    kv_cache_usage: float | None = None
    """Share in use, from 0 to 1."""
    num_running: int | None = None
    """Requests that it processes."""
    num_waiting: int | None = None
    """Requests in its queue."""
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


class RevisionHistoryView(View):
    """Metrics of one revision. One value for each of `HistoryView.times`, the mean of its step;
    null where it is unknown, or undefined without traffic."""

    number: int
    requests_per_s: list[float | None]
    """Requests that arrived at the gateway."""
    errors_per_s: list[float | None]
    """Responses of the gateway with a status of 500 or more, and those that failed midway."""
    prompt_tokens_per_s: list[float | None]
    generation_tokens_per_s: list[float | None]
    ttft_p50_s: list[float | None]
    """Time from a request's arrival at the gateway to the first byte of its response."""
    ttft_p95_s: list[float | None]
    inter_token_latency_p50_s: list[float | None]
    inter_token_latency_p95_s: list[float | None]
    num_running: list[float | None]
    """Requests that replicas process. Of replicas without vLLM's metrics: requests in flight."""
    num_waiting: list[float | None]
    """Requests in the queues of replicas and gateway."""
    kv_cache_usage: list[float | None]
    """Share in use, from 0 to 1; mean of the replicas."""
    prefix_cache_hit_ratio: list[float | None]
    """Share of the prompt tokens that were in the prefix cache, from 0 to 1."""
    preemptions_per_s: list[float | None]
    num_ready_replicas: list[float | None]


class HistoryView(View):
    """Aligned series of a service's revisions."""

    service: str
    period: str
    """``hour``, ``day`` or ``month``."""
    step_s: int
    """Length of a step: 15 s in an hour, 300 s in a day, 3,600 s in a month."""
    times: list[int]
    """Unix time in seconds at which each step begins, oldest first."""
    revisions: list[RevisionHistoryView]
    """By number: those with samples in the period, at most the newest 20."""


class AttemptView(View):
    """One attempt at one replica. Times are in seconds from the request's arrival."""

    replica_id: str
    revision: int
    began_s: float
    """The replica was chosen."""
    sent_s: float | None
    """None: no connection could be opened."""
    ended_s: float
    outcome: str
    """``ok``, ``bad_status``, ``connect_failed``, ``cut``, ``timeout`` or
    ``client_disconnected``."""
    status: int | None
    """Of the response, if one started."""


class UsageView(View):
    """What a group of requests has used. A field that it is not grouped by is null."""

    day: date | None = None
    """Of UTC."""
    service: str | None = None
    key: str | None = None
    """Name of the API key; empty for requests without one."""
    model: str | None = None
    """As responses name it; empty for requests without one."""
    num_requests: int
    num_errors: int
    """Of them: 5xx, and streams that were cut."""
    prompt_tokens: int
    """Tokens are those in the ``usage`` of responses."""
    completion_tokens: int
    cached_tokens: int
    """Prompt tokens from prefix caches."""


class RequestView(View):
    """A request that has ended, without its text. Durations are in seconds."""

    record_id: str
    """Unique."""
    request_id: str
    """The value of ``x-request-id`` that the replica got."""
    service: str
    arrived_at: datetime
    method: str
    path: str
    """Without the query."""
    status: int
    """499: the client had disconnected."""
    end: str
    """``finished``, ``client_disconnected``, ``cut``, ``timeout``, ``failed`` or ``rejected``."""
    error_code: str | None
    """Of the gateway's own error."""
    revision: int | None
    replica_id: str | None
    key: str | None
    """The name of its API key."""
    model: str | None
    total_s: float
    queued_s: float
    ttft_s: float | None
    """From its arrival to the first byte of the response."""
    is_stream: bool
    num_chunks: int
    """Parts in which an event stream arrived; usually one event each."""
    mean_gap_s: float | None
    """Between two chunks."""
    max_gap_s: float | None
    prompt_tokens: int | None
    """From the response's ``usage``, as the next two."""
    completion_tokens: int | None
    cached_tokens: int | None
    num_retries: int
    attempts: list[AttemptView]


class PhaseView(View):
    """A part of a request's time, in seconds from its arrival."""

    name: str
    """``queue``, ``connect``, ``first_byte`` or ``response``."""
    begin_s: float
    end_s: float
    replica_id: str | None
    outcome: str | None
    """Of the attempt, in its last phase."""


class RequestTimelineView(RequestView):
    timeline: list[PhaseView]


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
