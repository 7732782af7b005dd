"""Schemas of the responses of operational endpoints."""

from typing import Any, Literal

from headrace.server.api.schemas.responses import Response
from headrace.server.model_pool.slot import SlotState


class Version(Response):
    version: str


class Status(Response):
    status: Literal["ok"]


class LoadPhase(Response):
    name: str
    seconds: float | None
    """None until it ends."""
    done: int
    total: int
    """Steps of the phase; 0 if unknown."""


class ModelLoad(Response):
    id: str
    state: SlotState
    num_running: int
    num_waiting: int
    kv_cache_usage: float
    num_waiting_for_load: int
    """Requests that wait until the model is loaded."""
    load_phases: list[LoadPhase]
    """Of loading the model on demand, as far as they have begun."""


class Load(Response):
    server_load: int
    """Prompts in progress, queued ones and those that wait for a model included."""
    num_running: int
    """Choices that the engine computes."""
    num_waiting: int
    """Choices in the queue."""
    kv_cache_usage: float
    """Fraction of the KV cache's blocks in use, 0 to 1; of several models, the highest."""
    models: list[ModelLoad]


class Setting(Response):
    name: str
    value: str
    reason: str


class StartupPhase(Response):
    name: str
    seconds: float


class ServerInfo(Response):
    version: str
    model: str
    """The MODEL argument of ``headrace serve``."""
    served_model_names: list[str]
    models: list[str]
    """The names of all models; the query parameter ``model`` chooses one."""
    state: SlotState
    created: int
    """Start of the server, in Unix seconds."""
    max_model_len: int | None
    """None while the model is not loaded, as are the other sizes."""
    num_blocks: int | None
    block_size: int
    vocab_size: int | None
    dtype: str | None
    settings: list[Setting]
    """What the start chose, with the reason of each."""
    startup_phases: list[StartupPhase]
    sampling_defaults: dict[str, float]
    engine_config: dict[str, Any]
    """Options of the engine, by name."""
    server_config: dict[str, Any]
    """Options of the server, by name, without secrets."""
