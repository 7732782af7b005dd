"""Converts the messages of a request to the chat template's input."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.core.errors import InvalidParameterError
from headrace.engine.grammar.limits import MAX_SCHEMA_DEPTH
from headrace.engine.rendering.prompt_template import RenderJob
from headrace.engine.tokenization.literal_text import HiddenTokens
from headrace.server.api.chat.tool_prompt import write_tools
from headrace.server.api.sampling import truncation_of
from headrace.server.api.schemas.requests import ChatCompletionRequest, ContentPart, Message
from headrace.server.api.schemas.tools import MessageToolCall
from headrace.server.http.body_model import check_json_bounds
from headrace.server.http.json_body import JsonObject
from headrace.server.parsing.formats import DEFAULT_TOOL_FORMAT
from headrace.server.parsing.model_formats import ModelFormats
from headrace.server.served_model import ServedModel


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A conversation as text."""

    text: str
    """With marks in place of the special tokens that ``hidden`` has."""
    hidden: HiddenTokens


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A conversation, as the model gets it."""

    text: str
    """Before truncation."""
    token_ids: list[int]


def render_job(
    body: ChatCompletionRequest, formats: ModelFormats, tools: list[JsonObject] | None
) -> RenderJob:
    """tools: those that the prompt describes. Raises InvalidParameterError for content that is not
    text and for reserved variables."""
    messages = [
        _to_template(message, index, formats.support.arguments_are_text)
        for index, message in enumerate(body.messages)
    ]
    _name_results(messages)
    if not formats.support.reads_tools:
        if tools or any(_is_about_tools(message) for message in body.messages):
            messages = write_tools(
                messages,
                tools,
                formats.calls or DEFAULT_TOOL_FORMAT,
                refuses_system=formats.support.refuses_system,
            )
        tools = None
    continue_final_message = bool(body.continue_final_message)
    return RenderJob(
        messages,
        variables=_variables(body),
        tools=tools,
        add_generation_prompt=body.add_generation_prompt is not False
        and not continue_final_message,
        continue_final_message=continue_final_message,
    )


_RESERVED_VARIABLES = frozenset({"messages", "tools", "add_generation_prompt", "self"})
"""Template variables that are set from other fields of the body."""
_NO_EFFORT = "none"


def _variables(body: ChatCompletionRequest) -> dict[str, Any]:
    variables = body.chat_template_kwargs or {}
    if body.documents:
        variables = {**variables, "documents": body.documents}
    if reserved := _RESERVED_VARIABLES.intersection(variables):
        raise InvalidParameterError("chat_template_kwargs", f"must not contain {min(reserved)!r}")
    effort = body.reasoning_effort
    if effort is None:
        return variables
    thinking = {"enable_thinking": False} if effort == _NO_EFFORT else {}
    return {**thinking, "reasoning_effort": effort, **variables}


async def render_prompt(
    body: ChatCompletionRequest,
    served: ServedModel,
    job: RenderJob,
    check: Callable[[str], None],
) -> RenderedPrompt:
    """Render the messages of ``job``. The text of special tokens in them is hidden, unless
    parse_special_tokens is true.

    check: raises an error for a text that is too long. Raises InvalidRequestError or
    QueueFullError.
    """
    hidden = HiddenTokens()
    text = await _render(body, served, job)
    check(text)  # so that what follows is bounded too
    if not body.parse_special_tokens:
        given = [job.messages, job.variables, job.tools]
        messages, variables, tools = await served.prompt_encoder.hide_special_tokens(
            given, hidden, len(text)
        )
        if hidden.texts:
            shown = msgspec.structs.replace(
                job, messages=messages, variables=variables, tools=tools
            )
            text = await _render(body, served, shown)
    return RenderedPrompt(text, hidden)


async def encode_prompt(
    body: ChatCompletionRequest, served: ServedModel, job: RenderJob, max_tokens: int | None
) -> EncodedPrompt:
    """Render and encode the messages of ``job``. Raises InvalidRequestError, QueueFullError or
    ContextLengthError."""
    encoder = served.prompt_encoder
    truncation = truncation_of(body, served.engine.max_model_len, max_tokens)
    prompt = await render_prompt(
        body, served, job, lambda text: encoder.check_text(text, truncation)
    )
    [token_ids] = await encoder.encode(
        [prompt.text],
        add_special_tokens=bool(body.add_special_tokens),  # the template adds them
        truncation=truncation,
        hidden=prompt.hidden,
    )
    return EncodedPrompt(prompt.hidden.show(prompt.text), token_ids)


def echoed_text(body: ChatCompletionRequest) -> str:
    """What the answer begins with: the last message, if ``echo`` is set and it is the
    assistant's."""
    last = body.messages[-1]
    if not body.echo or last.role != "assistant":
        return ""
    content = _content_of(last, f"messages[{len(body.messages) - 1}]")
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


async def _render(body: ChatCompletionRequest, served: ServedModel, job: RenderJob) -> str:
    if not body.chat_template:
        return await served.renderer.render(job)
    if not served.config.trust_request_chat_template:
        raise InvalidParameterError(
            "chat_template", "requires a server started with --trust-request-chat-template"
        )
    return await served.request_templates.render(body.chat_template, job)


_TEMPLATE_ROLES = {"developer": "system", "function": "tool"}
"""OpenAI's newer name of system and its older one of tool, which templates do not have."""


def _to_template(message: Message, index: int, arguments_are_text: bool) -> JsonObject:
    converted: JsonObject = {
        **message.model_dump(exclude_none=True, exclude={"content", "tool_calls"}),
        "role": _TEMPLATE_ROLES.get(message.role, message.role),
        "content": _content_of(message, f"messages[{index}]"),
    }
    if message.tool_calls:
        converted["tool_calls"] = [
            _call_to_template(call, arguments_are_text) for call in message.tool_calls
        ]
    reasoning = converted.get("reasoning") or converted.get("reasoning_content")
    if isinstance(reasoning, str) and message.role == "assistant":
        # Templates read one of these names.
        converted |= {"reasoning": reasoning, "reasoning_content": reasoning}
    return converted


def _call_to_template(call: MessageToolCall, arguments_are_text: bool) -> JsonObject:
    arguments = _arguments_of(call)
    if arguments_are_text and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    function = {"name": call.function.name, "arguments": arguments}
    converted: JsonObject = {"type": "function", "function": function}
    return converted if call.id is None else {"id": call.id, **converted}


def _arguments_of(call: MessageToolCall) -> dict[str, Any] | str:
    """The arguments as an object; as text if they are none, as of a call that was cut."""
    arguments = call.function.arguments
    if not arguments:
        return {}
    if isinstance(arguments, dict):
        return arguments
    try:
        value = json.loads(arguments)
        check_json_bounds(value, MAX_SCHEMA_DEPTH)
        json.dumps(value, ensure_ascii=False).encode()  # raises for a lone surrogate
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _name_results(messages: Sequence[JsonObject]) -> None:
    """Give a tool's result the name of the tool, which some templates write."""
    names: dict[str, str] = {}
    for message in messages:
        for call in message.get("tool_calls", ()):
            if "id" in call:
                names[call["id"]] = call["function"]["name"]
        name = names.get(message.get("tool_call_id", ""))
        if name is not None and message["role"] == "tool":
            message.setdefault("name", name)


def _is_about_tools(message: Message) -> bool:
    return message.role in ("tool", "function") or bool(message.tool_calls)


def _content_of(message: Message, at: str) -> str | list[JsonObject]:
    if isinstance(message.content, list):
        return [
            {"type": "text", "text": _text_of(part, f"{at}.content[{position}]")}
            for position, part in enumerate(message.content)
        ]
    return message.content or ""


def _text_of(part: ContentPart, at: str) -> str:
    if part.type != "text":
        raise InvalidParameterError(
            at, f"content parts of type {part.type!r} are not supported, only 'text'"
        )
    if part.text is None:
        raise InvalidParameterError(f"{at}.text", "must be a string")
    return part.text
