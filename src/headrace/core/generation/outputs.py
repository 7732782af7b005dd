"""Output types: what the engine core reports about tokens, and the user's view of a request."""

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from headrace.core.errors import (
    HeadraceError,
    InvalidParameterError,
    InvalidRequestError,
    RequestFailedError,
)


class FinishReason(StrEnum):
    """Why a choice ended, with OpenAI's names where they exist."""

    STOP = "stop"
    """EOS, a stop token or a stop string."""
    LENGTH = "length"
    """max_tokens or the context length."""
    ABORT = "abort"
    """The client disconnected or cancelled."""
    ERROR = "error"
    """The engine failed on this request; `RequestFailure` says why."""


class RequestFailure(msgspec.Struct, frozen=True, array_like=True):
    """Why the engine ended one request while the others continue."""

    message: str
    is_invalid_request: bool = False
    """The request's own parameters are the cause (HTTP 400); else the model or the server (500)."""
    param: str | None = None
    """The parameter that is the cause, if it is a single one."""

    @classmethod
    def from_error(cls, error: Exception) -> "RequestFailure":
        """The failure to report to a client. The text of an unexpected error is not exposed."""
        if isinstance(error, InvalidParameterError):
            message = str(error).removeprefix(f"{error.param}: ")
            return cls(message, is_invalid_request=True, param=error.param)
        if isinstance(error, InvalidRequestError):
            return cls(str(error), is_invalid_request=True)
        if isinstance(error, HeadraceError):
            return cls(str(error))
        return cls("The engine failed on this request; the server's log says why.")

    def to_error(self) -> HeadraceError:
        """The error to raise to the request's caller."""
        if self.param is not None:
            return InvalidParameterError(self.param, self.message)
        if self.is_invalid_request:
            return InvalidRequestError(self.message)
        return RequestFailedError(self.message)


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True):
    """Log-probabilities (natural logarithm) at one position, as the model computed them: before
    penalties, bias, temperature and truncation."""

    token_id: int
    """The token at this position: the sampled one, or the prompt's."""
    logprob: float
    rank: int
    """1 is the most likely token of the vocabulary."""
    top: tuple[tuple[int, float], ...]
    """(token id, logprob) of the most likely tokens, best first, as many as requested; or of the
    requested tokens, in their order."""


class RequestTimes(msgspec.Struct, frozen=True, array_like=True):
    """When a request reached each stage, in seconds of the machine's monotonic clock."""

    arrival: float
    """The server received it."""
    queued: float
    """The engine core queued it."""
    scheduled: float
    """Start of the first step that computed any of its tokens."""
    first_token: float
    last_token: float


@dataclass(slots=True)
class CompletionOutput:
    """One choice: its output so far."""

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    """The stop string or stop token id that ended it; None for EOS."""
    failure: RequestFailure | None = None
    """With FinishReason.ERROR: why."""

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
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    """If requested: one entry per prompt token; None for the first one."""

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
    """One entry per token, if requested."""
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    num_cached_tokens: int = 0
    failure: RequestFailure | None = None
    """With FinishReason.ERROR: why."""
    times: RequestTimes | None = field(default=None, compare=False)
    """With the first token, and with the finish reason unless a stop string ended it."""
    vector: bytes | None = None
    """In place of text, if the request asks for one: float32, little-endian."""
