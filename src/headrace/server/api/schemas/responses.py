"""Schemas of response bodies, for /openapi.json and for tests.

Responses are encoded from plain dictionaries, which is cheaper than pydantic models.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from headrace.server.http.errors import ErrorCode
from headrace.server.model_pool.slot import SlotState


class Response(BaseModel):
    """The base class."""

    model_config = ConfigDict(extra="forbid")


class PromptTokensDetails(Response):
    cached_tokens: int


class Usage(Response):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class CompletionLogprobs(Response):
    text_offset: list[int]
    token_logprobs: list[float | None]
    """Null for the first token of an echoed prompt, as in top_logprobs."""
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]


class PromptLogprob(Response):
    logprob: float
    rank: int
    decoded_token: str


PromptLogprobs = list[dict[str, PromptLogprob] | None]
"""For each token of the prompt, by token id; null for the first one."""


class CompletionChunkChoice(Response):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: str | None
    stop_reason: str | int | None
    prompt_token_ids: list[int] | None
    token_ids: list[int] | None


class CompletionChoice(CompletionChunkChoice):
    prompt_logprobs: PromptLogprobs | None
    routed_experts: None


class CompletionChunk(Response):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChunkChoice]
    usage: Usage | None = None


class _FullResponse(Response):
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


class TopLogprob(Response):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Response):
    content: list[TokenLogprob]


class FunctionCall(Response):
    name: str
    arguments: str


class ToolCall(Response):
    id: str
    type: Literal["function"]
    function: FunctionCall


class ChatMessage(Response):
    role: Literal["assistant"]
    content: str | None
    tool_calls: list[ToolCall] | None = None
    refusal: None
    annotations: None
    audio: None
    function_call: None
    reasoning: str | None
    reasoning_content: str | None = None
    """The same as reasoning, under DeepSeek's name."""


class ChatChoice(Response):
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
    prompt_logprobs: PromptLogprobs | None
    prompt_token_ids: list[int] | None
    prompt_text: str | None


class FunctionCallDelta(Response):
    name: str | None = None
    arguments: str


class ToolCallDelta(Response):
    index: int
    id: str | None = None
    """id, type and name are in the first delta of a call."""
    type: Literal["function"] | None = None
    function: FunctionCallDelta


class ChatDelta(Response):
    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChatChunkChoice(Response):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: str | None
    stop_reason: str | int | None = None
    """Sent with finish_reason."""
    token_ids: list[int] | None


class ChatCompletionChunk(Response):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    prompt_token_ids: list[int] | None = None
    """Sent with a choice's first chunk."""


class ModelCard(Response):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    """The MODEL argument of ``headrace serve``, or an adapter's directory."""
    parent: str | None
    """Of an adapter: its model."""
    max_model_len: int | None
    """None while the model is not loaded, as is dtype."""
    dtype: str | None
    """Data type of the computation, such as bfloat16."""
    task: Literal["generate", "embed", "classify"] | None
    state: SlotState


class ModelList(Response):
    object: Literal["list"]
    data: list[ModelCard]


class ErrorDetail(Response):
    message: str
    type: str
    param: str | None
    code: ErrorCode


class ErrorResponse(Response):
    error: ErrorDetail
