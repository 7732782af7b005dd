"""Schemas of response bodies, for /openapi.json and for tests.

Responses are encoded from plain dictionaries, which is cheaper than pydantic models.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from headrace.server.http.errors import ErrorCode


class _Response(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PromptTokensDetails(_Response):
    cached_tokens: int


class Usage(_Response):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class CompletionLogprobs(_Response):
    text_offset: list[int]
    token_logprobs: list[float]
    tokens: list[str]
    top_logprobs: list[dict[str, float]]


class CompletionChunkChoice(_Response):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: str | None
    stop_reason: str | int | None
    prompt_token_ids: list[int] | None
    token_ids: list[int] | None


class CompletionChoice(CompletionChunkChoice):
    prompt_logprobs: None
    """Not supported; vLLM always sends the key."""
    routed_experts: None


class CompletionChunk(_Response):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChunkChoice]
    usage: Usage | None = None


class _FullResponse(_Response):
    id: str
    created: int
    model: str
    service_tier: None
    system_fingerprint: None
    usage: Usage
    kv_transfer_params: None
    ec_transfer_params: None
    metrics: None


class Completion(_FullResponse):
    object: Literal["text_completion"]
    choices: list[CompletionChoice]


class TopLogprob(_Response):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(_Response):
    content: list[TokenLogprob]


class ChatMessage(_Response):
    role: Literal["assistant"]
    content: str
    refusal: None
    annotations: None
    audio: None
    function_call: None
    reasoning: None


class ChatChoice(_Response):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: str
    stop_reason: str | int | None
    token_ids: list[int] | None
    routed_experts: None


class ChatCompletion(_FullResponse):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    prompt_logprobs: None
    prompt_token_ids: list[int] | None
    prompt_text: None


class ChatDelta(_Response):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(_Response):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: str | None
    stop_reason: str | int | None = None
    """Sent with finish_reason."""
    token_ids: list[int] | None


class ChatCompletionChunk(_Response):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    prompt_token_ids: list[int] | None = None
    """Sent with a choice's first chunk."""


class ModelCard(_Response):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: str | None
    max_model_len: int
    dtype: str | None
    """Data type of the computation, such as bfloat16."""
    task: Literal["generate", "embed", "classify"]


class ModelList(_Response):
    object: Literal["list"]
    data: list[ModelCard]


class ErrorDetail(_Response):
    message: str
    type: str
    param: str | None
    code: ErrorCode


class ErrorResponse(_Response):
    error: ErrorDetail


class Version(_Response):
    version: str


class Health(_Response):
    status: Literal["ok"]
