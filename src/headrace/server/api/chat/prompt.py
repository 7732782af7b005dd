"""Converts the messages of a request to the chat template's input."""

from dataclasses import dataclass

import msgspec

from headrace.core.errors import InvalidParameterError
from headrace.engine.rendering.prompt_template import RenderJob
from headrace.engine.tokenization.literal_text import HiddenTokens
from headrace.server.api.sampling import truncation_of
from headrace.server.api.schemas.requests import ChatCompletionRequest, ContentPart, Message
from headrace.server.http.json_body import JsonObject
from headrace.server.served_model import ServedModel


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A conversation, as the model gets it."""

    text: str
    """Before truncation."""
    token_ids: list[int]


def render_job(body: ChatCompletionRequest) -> RenderJob:
    """Raises InvalidParameterError for content that is not text and for reserved variables."""
    messages = [_to_template(message, index) for index, message in enumerate(body.messages)]
    variables = body.chat_template_kwargs or {}
    if body.documents:
        variables = {**variables, "documents": body.documents}
    if reserved := _RESERVED_VARIABLES.intersection(variables):
        raise InvalidParameterError("chat_template_kwargs", f"must not contain {min(reserved)!r}")
    continue_final_message = bool(body.continue_final_message)
    return RenderJob(
        messages,
        variables=variables,
        add_generation_prompt=body.add_generation_prompt is not False
        and not continue_final_message,
        continue_final_message=continue_final_message,
    )


_RESERVED_VARIABLES = frozenset({"messages", "tools", "add_generation_prompt", "self"})
"""Template variables that are set from other fields of the body."""


async def encode_prompt(
    body: ChatCompletionRequest, served: ServedModel, job: RenderJob, max_tokens: int | None
) -> EncodedPrompt:
    """Render and encode the messages of ``job``. The text of special tokens in them stays text,
    unless parse_special_tokens is true. Raises InvalidRequestError, QueueFullError or
    ContextLengthError."""
    encoder, hidden = served.prompt_encoder, HiddenTokens()
    truncation = truncation_of(body, served.engine.max_model_len, max_tokens)
    text = await _render(body, served, job)
    if not body.parse_special_tokens:
        encoder.check_text(text, truncation)  # so that what follows is bounded too
        given = [job.messages, job.variables, job.tools]
        messages, variables, tools = await encoder.hide_special_tokens(given, hidden, len(text))
        if hidden.texts:
            shown = msgspec.structs.replace(
                job, messages=messages, variables=variables, tools=tools
            )
            text = await _render(body, served, shown)
    [token_ids] = await encoder.encode(
        [text],
        add_special_tokens=bool(body.add_special_tokens),  # the template adds them
        truncation=truncation,
        hidden=hidden if hidden.texts else None,
    )
    return EncodedPrompt(hidden.show(text), token_ids)


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


def _to_template(message: Message, index: int) -> JsonObject:
    at = f"messages[{index}]"
    if message.role == "tool":
        raise InvalidParameterError(f"{at}.role", "'tool' is not supported yet")
    return {
        **message.model_dump(exclude_none=True, exclude={"content", "tool_calls"}),
        # OpenAI's newer name of the system role, which templates do not have.
        "role": "system" if message.role == "developer" else message.role,
        "content": _content_of(message, at),
    }


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
