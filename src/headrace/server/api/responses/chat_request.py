"""A request of the Responses API as a chat completion request."""

from collections.abc import Sequence
from typing import Any

from headrace.core.errors import ContextLengthError, InvalidParameterError
from headrace.server.api.chat.param_names import ParamNames
from headrace.server.api.chat.prepared_chat import PreparedChat, prepare_chat
from headrace.server.api.responses.input_items import new_message, to_messages
from headrace.server.api.responses.request import ResponsesRequest, ResponsesToolChoice, TextFormat
from headrace.server.api.schemas.requests import MAX_MESSAGES, ChatCompletionRequest
from headrace.server.api.schemas.structured_outputs import ResponseFormat
from headrace.server.api.schemas.tools import (
    AllowedTools,
    FunctionDefinition,
    FunctionName,
    NamedTool,
    Tool,
    ToolChoice,
    ToolChoiceObject,
)
from headrace.server.http.json_body import JsonObject
from headrace.server.served_model import ServedModel

PARAM_NAMES = ParamNames(
    (
        (r"messages.*", "input"),
        (r"max_completion_tokens|max_tokens", "max_output_tokens"),
        (r"tools\[(\d+)\]\.function", r"tools[\1]"),
        (r"tool_choice\.function", "tool_choice"),
        (r"tool_choice\.allowed_tools\.tools\[(\d+)\]\.function", r"tool_choice.tools[\1]"),
        (r"tool_choice\.allowed_tools", "tool_choice"),
        (r"response_format\.json_schema", "text.format"),
        (r"response_format", "text.format"),
        (r"reasoning_effort", "reasoning.effort"),
        (r"logprobs", "include"),
    )
)

_SAME_NAME = (
    *("model", "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty"),
    *("repetition_penalty", "logit_bias", "seed", "stop", "min_tokens", "ignore_eos"),
    *("cache_salt", "priority", "chat_template_kwargs", "parallel_tool_calls", "stream"),
)


async def prepare_response(
    body: ResponsesRequest, items: Sequence[JsonObject], served: ServedModel
) -> PreparedChat:
    """items: the whole conversation. Raises HeadraceError; parameters have this API's names."""
    with PARAM_NAMES.apply():
        try:
            return await _prepare(body, items, served)
        except ContextLengthError as error:
            if body.truncation != "auto":
                raise
            return await _prepare_truncated(body, items, served, error)


async def _prepare(
    body: ResponsesRequest, items: Sequence[JsonObject], served: ServedModel
) -> PreparedChat:
    chat = to_chat(body, items)
    chat.check()
    return await prepare_chat(chat, served, fits_max_tokens=True)


async def _prepare_truncated(
    body: ResponsesRequest,
    items: Sequence[JsonObject],
    served: ServedModel,
    error: ContextLengthError,
) -> PreparedChat:
    """With as many of the latest turns as fit, and the system messages that began the conversation.
    A turn begins with a message of the user."""
    is_first = [item.get("role") in ("system", "developer") for item in items]
    num_first = is_first.index(False) if False in is_first else len(items)
    begins = [
        index
        for index in range(num_first + 1, len(items))
        if items[index]["type"] == "message" and items[index]["role"] == "user"
    ]
    found: PreparedChat | None = None
    low, high = 0, len(begins)
    while low < high:
        middle = (low + high) // 2
        try:
            found = await _prepare(body, [*items[:num_first], *items[begins[middle] :]], served)
            high = middle
        except ContextLengthError as longer:
            error, low = longer, middle + 1
    if found is None:
        raise error
    return found


def to_chat(body: ResponsesRequest, items: Sequence[JsonObject]) -> ChatCompletionRequest:
    """Raises InvalidParameterError."""
    messages = to_messages(items)
    if body.instructions:
        messages.insert(0, new_message("system", content=body.instructions))
    if not 0 < len(messages) <= MAX_MESSAGES:
        raise InvalidParameterError(
            "messages", f"the conversation must have 1 to {MAX_MESSAGES} items"
        )
    fields: dict[str, Any] = {name: getattr(body, name) for name in _SAME_NAME}
    fields |= {
        "messages": messages,
        "max_completion_tokens": body.max_output_tokens,
        "tools": [
            Tool(
                type="function",
                function=FunctionDefinition(
                    name=tool.name or "",
                    description=tool.description,
                    parameters=tool.parameters,
                    strict=tool.strict,
                ),
            )
            for tool in body.tools or ()
        ]
        or None,
        "tool_choice": _tool_choice(body.tool_choice),
        "response_format": None if body.text is None else _response_format(body.text.format),
        "reasoning_effort": None if body.reasoning is None else body.reasoning.effort,
    }
    if body.wants_logprobs:
        fields |= {"logprobs": True, "top_logprobs": body.top_logprobs}
    return ChatCompletionRequest(
        **{name: each for name, each in fields.items() if each is not None}
    )


def _tool_choice(choice: str | ResponsesToolChoice | None) -> ToolChoice | None:
    match choice:
        case None | "none" | "auto" | "required":
            return choice
        case ResponsesToolChoice(type="function", name=str(name)):
            return ToolChoiceObject(type="function", function=FunctionName(name=name))
        case ResponsesToolChoice(mode=("auto" | "required") as mode, tools=list(tools)):
            named = [NamedTool(function=FunctionName(name=tool.name or "")) for tool in tools]
            return ToolChoiceObject(
                type="allowed_tools", allowed_tools=AllowedTools(mode=mode, tools=named)
            )
    raise TypeError(choice)  # the request was checked


def _response_format(wanted: TextFormat | None) -> ResponseFormat | None:
    if wanted is None or wanted.type == "text":
        return None
    given: JsonObject = {"type": wanted.type}
    if wanted.type == "json_schema":
        schema = {"name": wanted.name, "schema": wanted.schema_, "strict": wanted.strict}
        given["json_schema"] = schema
    return ResponseFormat.model_validate(given)
