"""What comes out: the engine core's messages about tokens, and the user's view of a request."""

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec


class FinishReason(StrEnum):
    """Why a choice ended, in OpenAI's words where there is one."""

    STOP = "stop"
    """EOS, a stop token or a stop string."""
    LENGTH = "length"
    """max_tokens or the context length."""
    ABORT = "abort"
    """The client went away or cancelled."""
    ERROR = "error"
    """The engine failed."""


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True):
    """Log-probabilities (natural logarithm) at one output position, as the model gave them: before
    penalties, bias, temperature and truncation."""

    token_id: int
    """The token that was drawn."""
    logprob: float
    rank: int
    """1 is the likeliest token of the vocabulary."""
    top: tuple[tuple[int, float], ...]
    """(token id, logprob) of the likeliest tokens, best first; as many as were asked for."""


class RequestTimes(msgspec.Struct, frozen=True, array_like=True):
    """When a request passed each gate, in seconds of the machine's monotonic clock."""

    arrival: float
    """The server took it."""
    queued: float
    """The engine core took it."""
    scheduled: float
    """Its first token was computed for the first time in the step that began then."""
    first_token: float
    last_token: float


@dataclass(slots=True)
class CompletionOutput:
    """One choice, as far as it has come."""

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    """The stop string or stop token id that ended it; None for EOS."""

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None


@dataclass(slots=True)
class RequestOutput:
    """One prompt with its choices, as ``LLM.generate`` returns it."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    num_cached_tokens: int = 0
    """Prompt tokens whose keys and values came from the prefix cache."""

    @property
    def finished(self) -> bool:
        return all(output.finished for output in self.outputs)


@dataclass(slots=True)
class ChoiceDelta:
    """What one step added to one choice of a request: the unit of streaming."""

    index: int
    text: str
    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None = None
    """One entry a token, if they were asked for."""
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    num_cached_tokens: int = 0
