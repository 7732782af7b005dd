"""Schemas of the bodies of the Responses API, for /openapi.json and for tests."""

from typing import Any, Literal

from headrace.server.api.schemas.responses import Response, TokenLogprob

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class InputTokensDetails(Response):
    cached_tokens: int
    cache_write_tokens: Literal[0]
    """Nothing is charged: every prompt is cached."""


class OutputTokensDetails(Response):
    reasoning_tokens: int


class ResponseUsage(Response):
    input_tokens: int
    """Cached tokens included."""
    input_tokens_details: InputTokensDetails
    output_tokens: int
    """Reasoning included."""
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class OutputText(Response):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[TokenLogprob] | None = None


class InputText(Response):
    type: Literal["input_text"]
    text: str


class ReasoningText(Response):
    type: Literal["reasoning_text"]
    text: str


class MessageItem(Response):
    id: str
    type: Literal["message"]
    status: ItemStatus
    role: str
    content: list[OutputText | InputText]


class ReasoningItem(Response):
    id: str
    type: Literal["reasoning"]
    summary: list[Any]
    content: list[ReasoningText]
    status: ItemStatus | None = None


class FunctionCallItem(Response):
    id: str
    type: Literal["function_call"]
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class FunctionCallOutputItem(Response):
    id: str
    type: Literal["function_call_output"]
    status: ItemStatus
    call_id: str
    output: str


class IncompleteDetails(Response):
    reason: Literal["max_output_tokens"]


class ResponseFailure(Response):
    code: str
    message: str


class ReasoningSettings(Response):
    effort: str | None
    summary: None


class ResponseBody(Response):
    """A response, whose fields of the request are repeated."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    background: Literal[False]
    completed_at: int | None
    error: ResponseFailure | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None
    metadata: dict[str, str]
    model: str
    output: list[MessageItem | ReasoningItem | FunctionCallItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: None
    reasoning: ReasoningSettings
    safety_identifier: None
    service_tier: Literal["default"]
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None
    user: str | None


class ResponseEvent(Response):
    """An event of a stream; the other fields follow from its type."""

    type: str
    sequence_number: int
    response: ResponseBody | None = None
    output_index: int | None = None
    item_id: str | None = None
    item: MessageItem | ReasoningItem | FunctionCallItem | None = None
    content_index: int | None = None
    part: OutputText | ReasoningText | None = None
    delta: str | None = None
    text: str | None = None
    logprobs: list[TokenLogprob] | None = None
    name: str | None = None
    arguments: str | None = None


class DeletedResponse(Response):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class InputItemList(Response):
    object: Literal["list"]
    data: list[MessageItem | ReasoningItem | FunctionCallItem | FunctionCallOutputItem]
    first_id: str | None
    last_id: str | None
    has_more: bool
