"""Schemas of the responses of operational endpoints."""

from typing import Any, Literal

from headrace.server.api.schemas.responses import Response


class Version(Response):
    version: str


class Status(Response):
    status: Literal["ok"]


class Load(Response):
    server_load: int
    """Prompts in progress, queued ones included."""
    num_running: int
    """Choices that the engine computes."""
    num_waiting: int
    """Choices in the queue."""
    kv_cache_usage: float
    """Fraction of the KV cache's blocks in use, 0 to 1."""


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
    created: int
    """Start of the server, in Unix seconds."""
    max_model_len: int
    num_blocks: int
    block_size: int
    vocab_size: int
    dtype: str | None
    settings: list[Setting]
    """What the start chose, with the reason of each."""
    startup_phases: list[StartupPhase]
    sampling_defaults: dict[str, float]
    engine_config: dict[str, Any]
    """Options of the engine, by name."""
    server_config: dict[str, Any]
    """Options of the server, by name, without secrets."""
