"""A request of the Messages API as a chat completion request."""

from collections.abc import Iterator, Sequence
from typing import Any

from headrace.core.errors import InvalidParameterError
from headrace.server.api.chat.param_names import ParamNames
from headrace.server.api.messages.request import (
    ConversationRequest,
    InputMessage,
    MessageBlock,
    MessagesRequest,
    MessagesToolChoice,
    TextBlock,
)
from headrace.server.api.schemas.requests import MAX_MESSAGES, ChatCompletionRequest
from headrace.server.api.schemas.structured_outputs import ResponseFormat
from headrace.server.api.schemas.tools import MAX_TOOL_CALLS
from headrace.server.http.json_body import JsonObject

PARAM_NAMES = ParamNames(
    (
        (r"messages.*", "messages"),
        (r"max_completion_tokens", "max_tokens"),
        (r"stop", "stop_sequences"),
        (r"tools\[(\d+)\]\.function\.parameters", r"tools[\1].input_schema"),
        (r"tools\[(\d+)\]\.function", r"tools[\1]"),
        (r"tool_choice\.function", "tool_choice"),
        (r"response_format\.json_schema", "output_config.format"),
        (r"response_format", "output_config.format"),
        (r"reasoning_effort", "output_config.effort"),
    )
)

_SAME_NAME = ("temperature", "top_p", "top_k", "cache_salt", "priority", "stream")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def to_chat(body: ConversationRequest) -> ChatCompletionRequest:
    """Raises InvalidParameterError."""
    messages = list(_messages(body))
    if len(messages) > MAX_MESSAGES:
        raise InvalidParameterError(
            "messages", f"must become at most {MAX_MESSAGES} messages, tool results included"
        )
    fields: dict[str, Any] = {"model": body.model, "messages": messages}
    if messages[-1]["role"] == "assistant":
        if messages[-1].get("tool_calls"):
            raise InvalidParameterError(
                f"messages[{len(body.messages) - 1}].content",
                "ends with tool_use: send the results in a message of the user",
            )
        fields |= {"continue_final_message": True, "add_generation_prompt": False}
    if body.tools:
        fields["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.input_schema,
                    "strict": tool.strict,
                },
            }
            for tool in body.tools
        ]
    fields |= _tool_choice(body.tool_choice) | _thinking(body)
    output = body.output_config
    if output is not None:
        fields["reasoning_effort"] = output.effort
        if output.format is not None:
            schema = {"name": "output", "schema": output.format.schema_, "strict": True}
            fields["response_format"] = ResponseFormat.model_validate(
                {"type": "json_schema", "json_schema": schema}
            )
    if isinstance(body, MessagesRequest):
        fields |= {name: getattr(body, name) for name in _SAME_NAME}
        fields |= {"max_completion_tokens": body.max_tokens, "stop": body.stop_sequences}
    return ChatCompletionRequest.model_validate(
        {name: value for name, value in fields.items() if value is not None}
    )


def _messages(body: ConversationRequest) -> Iterator[JsonObject]:
    if body.system:
        yield {"role": "system", "content": _text(body.system)}
    for turn in body.messages:
        if isinstance(turn.content, str):
            yield {"role": turn.role, "content": turn.content}
        elif turn.role == "assistant":
            yield from _assistant(turn.content)
        else:
            yield from _results_and_text(turn, turn.content)


def _assistant(blocks: Sequence[MessageBlock]) -> Iterator[JsonObject]:
    """Thinking, text and calls are one message, as templates write them."""
    calls = [_call(block) for block in blocks if block.type == "tool_use"]
    thinking = "".join(block.thinking or "" for block in blocks if block.type == "thinking")
    message: JsonObject = {"role": "assistant", "content": _text(blocks)}
    if thinking:
        message["reasoning"] = thinking
    if calls:
        message["tool_calls"] = calls[:MAX_TOOL_CALLS]
    yield message
    for begin in range(MAX_TOOL_CALLS, len(calls), MAX_TOOL_CALLS):
        more = calls[begin : begin + MAX_TOOL_CALLS]
        yield {"role": "assistant", "content": "", "tool_calls": more}


def _results_and_text(turn: InputMessage, blocks: Sequence[MessageBlock]) -> Iterator[JsonObject]:
    """Each result of a tool is a message of its own, before the text."""
    for block in blocks:
        if block.type == "tool_result":
            text = _text(block.content or "")
            content = f"Error: {text}" if block.is_error else text
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}
    texts = [block for block in blocks if block.type == "text"]
    if texts or not blocks:
        yield {"role": turn.role, "content": _text(texts)}


def _call(block: MessageBlock) -> JsonObject:
    function = {"name": block.name, "arguments": block.input}
    return {"id": block.id, "type": "function", "function": function}


def _text(given: str | Sequence[TextBlock | MessageBlock]) -> str:
    if isinstance(given, str):
        return given
    return "\n".join(block.text or "" for block in given if block.type == "text")


def _tool_choice(choice: MessagesToolChoice | None) -> JsonObject:
    if choice is None:
        return {}
    fields: JsonObject = {
        "tool_choice": {"type": "function", "function": {"name": choice.name}}
        if choice.type == "tool"
        else _CHOICES[choice.type]
    }
    if choice.disable_parallel_tool_use:
        fields["parallel_tool_calls"] = False
    return fields


def _thinking(body: ConversationRequest) -> JsonObject:
    variables, thinking = body.chat_template_kwargs, body.thinking
    if thinking is None:
        return {"chat_template_kwargs": variables}
    is_on = thinking.type != "disabled"
    return {
        "chat_template_kwargs": {"enable_thinking": is_on, **(variables or {})},
        "include_reasoning": is_on and thinking.display != "omitted",
    }
