"""Schemas of the bodies of the Messages API, for /openapi.json and for tests."""

from typing import Any, Literal

from headrace.server.api.schemas.responses import Response
from headrace.server.http.errors import ErrorCode

StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]


class ThinkingTokens(Response):
    thinking_tokens: int


class MessageUsage(Response):
    input_tokens: int
    """Those that are not cached."""
    cache_creation_input_tokens: Literal[0]
    cache_read_input_tokens: int
    output_tokens: int
    """Thinking included."""
    output_tokens_details: ThinkingTokens | None = None


class AnswerText(Response):
    type: Literal["text"]
    text: str


class AnswerThinking(Response):
    type: Literal["thinking"]
    thinking: str
    signature: Literal[""]
    """Thinking is not signed."""


class ToolUse(Response):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class MessageBody(Response):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[AnswerText | AnswerThinking | ToolUse]
    stop_reason: StopReason | None
    stop_sequence: str | None
    stop_details: None
    usage: MessageUsage


class MessageEvent(Response):
    """An event of a stream; the other fields follow from its type."""

    type: Literal[
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    ]
    message: MessageBody | None = None
    index: int | None = None
    content_block: AnswerText | AnswerThinking | ToolUse | None = None
    delta: dict[str, Any] | None = None
    usage: MessageUsage | None = None
    error: dict[str, Any] | None = None


class TokenCount(Response):
    input_tokens: int


class MessageErrorDetail(Response):
    type: str
    message: str
    param: str | None
    code: ErrorCode


class MessageError(Response):
    type: Literal["error"]
    error: MessageErrorDetail
