"""The typed messages between a front end and the engine core's process (msgpack)."""

from typing import Literal

import msgspec

from headrace.core.outputs import FinishReason, RequestFailure, RequestTimes, TokenLogprobs
from headrace.core.sampling_params import SamplingParams
from headrace.core.stats import EngineStats
from headrace.engine.config import EngineConfig


class StartCore(msgspec.Struct, frozen=True, array_like=True):
    """The first message to a new core: what to serve. The fields are those of ModelFiles."""

    config: EngineConfig
    model_name: str
    model_format: Literal["huggingface", "gguf"]
    model_path: str


class AddRequest(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Compute this choice of a prompt. The fields are those of core.request.Request."""

    request_id: str
    prompt_token_ids: list[int]
    params: SamplingParams
    arrival_time: float
    choice: int
    seed: int
    cache_salt: str
    prior_output_token_ids: list[int] = []


class AbortRequests(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Forget these requests and free their blocks. Unknown ids are ignored."""

    request_ids: list[str]


class Shutdown(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Leave the loop and exit with 0."""


class AddEndTokens(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """These end every request that comes after this message, beside the tokens that the checkpoint
    lists. The front end, which has the tokenizer, knows them."""

    token_ids: list[int]


ToCore = AddRequest | AbortRequests | Shutdown | AddEndTokens


class StartupPhase(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Progress of the start: a phase began (``seconds`` None) or took so long."""

    name: str
    seconds: float | None
    done: int = 0
    total: int = 0
    """Steps within the phase, where it has steps (0 = unknown)."""


class CoreReady(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The core takes requests; what was chosen at the start, and why, for the start's table."""

    max_model_len: int
    num_blocks: int
    block_size: int
    settings: list[tuple[str, str, str]]
    """(name, value, why)."""
    phases: list[tuple[str, float]]
    """(name, seconds)."""
    vocab_size: int
    """The model's: token ids at or above it are refused."""
    sampling_defaults: dict[str, float] = {}
    """SamplingParams that the model's files advise when a request names none."""
    dtype: str | None = None
    """What the model computes in, such as ``bfloat16``."""


class TokenOutput(msgspec.Struct, frozen=True, array_like=True):
    """New tokens of one request; with ``finish_reason`` the last word about it."""

    request_id: str
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None
    finish_reason: FinishReason | None = None
    stop_token_id: int | None = None
    num_cached_tokens: int = 0
    num_preemptions: int = 0
    times: RequestTimes | None = None
    """Given with the first token and with the finish reason, as they are by then."""
    failure: RequestFailure | None = None
    """With FinishReason.ERROR: why."""


class StepOutputs(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """All that one step gave, in one message."""

    outputs: list[TokenOutput]
    stats: EngineStats


class CoreFailed(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The core cannot go on (or could not start); it exits after this message."""

    error_type: str
    """The name of the class in core.errors, or of another exception."""
    message: str


FromCore = StartupPhase | CoreReady | StepOutputs | CoreFailed
