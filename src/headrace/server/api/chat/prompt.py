"""Converts the messages of a request to the chat template's input."""

from headrace.core.errors import InvalidParameterError
from headrace.engine.rendering.prompt_template import RenderJob
from headrace.server.api.schemas.requests import ChatCompletionRequest, ContentPart, Message
from headrace.server.http.json_body import JsonObject


def render_job(body: ChatCompletionRequest) -> RenderJob:
    """Raises InvalidParameterError for content that is not text and for reserved variables."""
    messages = [_to_template(message, index) for index, message in enumerate(body.messages)]
    variables = body.chat_template_kwargs or {}
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
