"""The messages between a front end and the engine core, encoded with msgpack between processes."""

from typing import Literal

import msgspec

from headrace.core.generation.outputs import (
    FinishReason,
    RequestFailure,
    RequestTimes,
    TokenLogprobs,
)
from headrace.core.generation.pooling import PoolingParams, PoolingSpec
from headrace.core.generation.sampling_params import SamplingParams
from headrace.core.generation.stats import EngineStats
from headrace.engine.config import EngineConfig


class StartCore(msgspec.Struct, frozen=True, array_like=True):
    """The first message to a new core: what to serve. ``model_*`` are the fields of ModelFiles."""

    config: EngineConfig
    model_name: str
    model_format: Literal["huggingface", "gguf"]
    model_path: str


class AddRequest(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Compute this choice of a prompt. The fields are those of core.generation.request.Request."""

    request_id: str
    prompt_token_ids: list[int]
    params: SamplingParams
    arrival_time: float
    choice: int
    seed: int
    cache_salt: str
    prior_output_token_ids: list[int] = []
    priority: int = 0
    pooling: PoolingParams | None = None
    adapter_id: int = 0


class AbortRequests(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """End these requests and free their blocks. Unknown ids are ignored."""

    request_ids: list[str]


class Shutdown(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """End the process with exit code 0."""


class AddEndTokens(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Tokens that end every later request, beside those that the checkpoint lists. They come from
    the tokenizer and the chat template, which only the front end has."""

    token_ids: list[int]


class ResetPrefixCache(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Empty the prefix cache. Requests in progress continue."""


class LoadAdapter(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Load a LoRA adapter; an AdapterLoaded answers. Later requests may have it."""

    adapter_id: int
    """At least 1, and never one that was loaded before."""
    path: str
    """Its directory."""


class UnloadAdapter(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Free an adapter that no unfinished request has."""

    adapter_id: int


ToCore = (
    AddRequest
    | AbortRequests
    | Shutdown
    | AddEndTokens
    | ResetPrefixCache
    | LoadAdapter
    | UnloadAdapter
)


class StartupPhase(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Progress of the startup: a phase began (``seconds`` None) or ended after ``seconds``."""

    name: str
    seconds: float | None
    done: int = 0
    total: int = 0
    """Steps of the phase; 0 if unknown."""


class CoreReady(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The core accepts requests; with the settings in use and their reasons."""

    max_model_len: int
    num_blocks: int
    block_size: int
    settings: list[tuple[str, str, str]]
    """(name, value, why)."""
    phases: list[tuple[str, float]]
    """(name, seconds)."""
    vocab_size: int
    """Token ids at or above it are rejected."""
    sampling_defaults: dict[str, float] = {}
    """The model's recommended sampling parameters, for requests that set none."""
    dtype: str | None = None
    """Type of the activations, such as ``bfloat16``."""
    pooling: PoolingSpec | None = None
    """Of a model that gives vectors; None if it generates text."""


class TokenOutput(msgspec.Struct, frozen=True, array_like=True):
    """New tokens of one request. With ``finish_reason``, the last message about it."""

    request_id: str
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None
    finish_reason: FinishReason | None = None
    stop_token_id: int | None = None
    num_cached_tokens: int = 0
    num_preemptions: int = 0
    times: RequestTimes | None = None
    """Sent with the first token and with the finish reason."""
    failure: RequestFailure | None = None
    """With FinishReason.ERROR: why."""
    is_complete: bool = False
    """With FinishReason.STOP: the last token is text, which completed the request's grammar."""
    vector: bytes | None = None
    """The whole result of a request with ``pooling``: float32, little-endian."""


class PromptLogprobs(msgspec.Struct, frozen=True, array_like=True):
    """Log-probabilities of the next prompt tokens of one request. All of them are sent before its
    first TokenOutput, or with it."""

    request_id: str
    entries: list[TokenLogprobs]


class StepOutputs(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """All outputs of one step."""

    outputs: list[TokenOutput]
    stats: EngineStats
    prompt_logprobs: list[PromptLogprobs] = []


class AdapterLoaded(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """An adapter can be used, or why it cannot be loaded."""

    adapter_id: int
    error: str | None = None


class CoreFailed(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The core failed or could not start; it exits after this message."""

    error_type: str
    """The name of the class in core.errors, or of another exception."""
    message: str


FromCore = StartupPhase | CoreReady | StepOutputs | CoreFailed | AdapterLoaded
