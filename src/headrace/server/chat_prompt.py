"""From chat messages to the text that the model continues.

Knows what of OpenAI's messages can be served; the template itself is engine.chat_template's.
"""

from headrace.core.errors import InvalidParameterError
from headrace.engine.tokenization.chat_template import ChatTemplate
from headrace.server.json_types import JsonObject
from headrace.server.protocol import ChatCompletionRequest, Message


def render_prompt(template: ChatTemplate, body: ChatCompletionRequest) -> str:
    """The prompt's text; raises InvalidRequestError, naming the message, for what is not text."""
    messages = [_to_template(message, index) for index, message in enumerate(body.messages)]
    more = body.chat_template_kwargs or {}
    if taken := _TAKEN.intersection(more):
        raise InvalidParameterError("chat_template_kwargs", f"must not hold {min(taken)!r}")
    if not body.continue_final_message:
        add = body.add_generation_prompt is not False
        return template.render(messages, add_generation_prompt=add, **more)
    prompt = template.render(messages, add_generation_prompt=False, **more)
    return _cut_behind(prompt, messages[-1]["content"])


_TAKEN = frozenset({"messages", "tools", "add_generation_prompt", "self"})
"""What the body says in fields of its own."""


def _to_template(message: Message, index: int) -> JsonObject:
    at = f"messages[{index}]"
    if message.tool_calls:
        raise InvalidParameterError(f"{at}.tool_calls", "is not supported yet")
    if message.role == "tool":
        raise InvalidParameterError(f"{at}.role", "'tool' is not supported yet")
    return {
        **message.model_dump(exclude_none=True, exclude={"tool_calls"}),
        # Templates were written before the role had its new name.
        "role": "system" if message.role == "developer" else message.role,
        "content": _text_of(message, at),
    }


def _text_of(message: Message, at: str) -> str:
    if message.content is None:
        return ""
    if isinstance(message.content, str):
        return message.content
    texts: list[str] = []
    for position, part in enumerate(message.content):
        kind, text = part.get("type"), part.get("text")
        if kind != "text":
            raise InvalidParameterError(
                f"{at}.content[{position}]", f"parts of type {kind!r} are not supported, only text"
            )
        if not isinstance(text, str):
            raise InvalidParameterError(f"{at}.content[{position}].text", "must be a text")
        texts.append(text)
    return "\n".join(texts)


def _cut_behind(prompt: str, content: str) -> str:
    """The prompt up to the end of the last message, without what the template closes it with."""
    content = content.strip()
    start = prompt.rfind(content) if content else -1
    if start < 0:
        raise InvalidParameterError(
            "continue_final_message", "the template does not show the last message's content as is"
        )
    return prompt[: start + len(content)]
