"""From chat messages to what the chat template is given.

Knows what of OpenAI's messages can be served; how a template renders is engine.rendering's.
"""

from headrace.core.errors import InvalidParameterError
from headrace.engine.rendering.prompt_template import RenderJob
from headrace.server.api.request_schemas import ChatCompletionRequest, ContentPart, Message
from headrace.server.http.json_body import JsonObject


def render_job(body: ChatCompletionRequest) -> RenderJob:
    """What to render; raises InvalidParameterError, naming the message, for what is not text."""
    messages = [_to_template(message, index) for index, message in enumerate(body.messages)]
    variables = body.chat_template_kwargs or {}
    if taken := _TAKEN.intersection(variables):
        raise InvalidParameterError("chat_template_kwargs", f"must not hold {min(taken)!r}")
    continues = bool(body.continue_final_message)
    return RenderJob(
        messages,
        variables=variables,
        add_generation_prompt=body.add_generation_prompt is not False and not continues,
        continue_final_message=continues,
    )


_TAKEN = frozenset({"messages", "tools", "add_generation_prompt", "self"})
"""What the body says in fields of its own."""


def _to_template(message: Message, index: int) -> JsonObject:
    at = f"messages[{index}]"
    if message.role == "tool":
        raise InvalidParameterError(f"{at}.role", "'tool' is not supported yet")
    return {
        **message.model_dump(exclude_none=True, exclude={"content", "tool_calls"}),
        # Templates were written before the role had its new name.
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
        raise InvalidParameterError(at, f"parts of type {part.type!r} are not supported, only text")
    if part.text is None:
        raise InvalidParameterError(f"{at}.text", "must be a text")
    return part.text
