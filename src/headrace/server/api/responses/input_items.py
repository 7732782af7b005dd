"""The items of a conversation in the Responses API: their schema, and as messages of a chat.

Stored and returned items are plain objects in the form that `InputItem.normalized` gives them.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated
from uuid import uuid4

from pydantic import ConfigDict, Field

from headrace.core.errors import InvalidParameterError
from headrace.server.api.schemas.requests import MAX_CONTENT_PARTS, ContentPart, Message
from headrace.server.api.schemas.tools import (
    MAX_CALL_ID_LENGTH,
    MAX_TOOL_CALLS,
    MAX_TOOL_NAME_LENGTH,
    CalledFunction,
    MessageToolCall,
)
from headrace.server.http.body_model import BodyModel
from headrace.server.http.json_body import JsonObject

MAX_ID_LENGTH = 256
MAX_TYPE_LENGTH = 64
_ROLES = ("user", "assistant", "system", "developer")
_TEXTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")


class ItemPart(BodyModel):
    """A part of an item's content; only text is supported."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(
        max_length=MAX_TYPE_LENGTH,
        description="input_text, output_text, reasoning_text, summary_text or refusal.",
    )
    text: str | None = None
    refusal: str | None = None

    def text_of(self, path: str) -> str:
        if self.type == "refusal":
            text = self.refusal
        elif self.type in _TEXTS:
            text = self.text
        else:
            raise InvalidParameterError(
                f"{path}.type", f"{self.type!r} is not supported; only text is"
            )
        if text is None:
            name = "refusal" if self.type == "refusal" else "text"
            raise InvalidParameterError(f"{path}.{name}", "must be a string")
        return text


ItemParts = Annotated[list[ItemPart], Field(max_length=MAX_CONTENT_PARTS)]


class InputItem(BodyModel):
    """One item of the input. Items of earlier responses are accepted as they were sent."""

    model_config = ConfigDict(extra="ignore")

    type: str | None = Field(
        None,
        max_length=MAX_TYPE_LENGTH,
        description="message (default), function_call, function_call_output or reasoning.",
    )
    id: str | None = Field(None, max_length=MAX_ID_LENGTH)
    role: str | None = Field(
        None, max_length=MAX_TYPE_LENGTH, description="user, assistant, system or developer."
    )
    content: str | ItemParts | None = Field(None, description="Of a message or of reasoning.")
    call_id: str | None = Field(
        None, max_length=MAX_CALL_ID_LENGTH, description="Of a call and of its output."
    )
    name: str | None = Field(None, max_length=MAX_TOOL_NAME_LENGTH, description="Of a call.")
    arguments: str | None = Field(None, description="Of a call, as JSON text.")
    output: str | ItemParts | None = Field(None, description="Of a call, once it is made.")
    summary: ItemParts | None = Field(None, description="Of reasoning that has no content.")

    def normalized(self, path: str) -> JsonObject:
        """The item with its type, an id and all that its type requires. path: as in ``input[2]``.
        Raises InvalidParameterError."""
        kind = self.type or "message"
        match kind:
            case "message":
                return self._message(path)
            case "function_call":
                for name in ("call_id", "name", "arguments"):
                    self._require(name, path)
                return {
                    "id": self.id or f"fc_{uuid4().hex}",
                    "type": kind,
                    "status": "completed",
                    "call_id": self.call_id,
                    "name": self.name,
                    "arguments": self.arguments,
                }
            case "function_call_output":
                for name in ("call_id", "output"):
                    self._require(name, path)
                return {
                    "id": self.id or f"fco_{uuid4().hex}",
                    "type": kind,
                    "status": "completed",
                    "call_id": self.call_id,
                    "output": _text(self.output, f"{path}.output"),
                }
            case "reasoning":
                text = _text(self.content, f"{path}.content")
                text = text or _text(self.summary, f"{path}.summary")
                return {
                    "id": self.id or f"rs_{uuid4().hex}",
                    "type": kind,
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": text}],
                }
        raise InvalidParameterError(
            f"{path}.type",
            f"{kind!r} is not supported; only message, function_call, function_call_output and "
            "reasoning are",
        )

    def _message(self, path: str) -> JsonObject:
        self._require("role", path)
        self._require("content", path)
        if self.role not in _ROLES:
            raise InvalidParameterError(f"{path}.role", f"must be one of {', '.join(_ROLES)}")
        given = self.content
        texts = (
            [given]
            if isinstance(given, str)
            else [
                part.text_of(f"{path}.content[{index}]") for index, part in enumerate(given or ())
            ]
        )
        is_output = self.role == "assistant"
        kind: JsonObject = (
            {"type": "output_text", "annotations": []} if is_output else {"type": "input_text"}
        )
        return {
            "id": self.id or f"msg_{uuid4().hex}",
            "type": "message",
            "status": "completed",
            "role": self.role,
            "content": [{**kind, "text": text} for text in texts],
        }

    def _require(self, name: str, path: str) -> None:
        if getattr(self, name) is None:
            raise InvalidParameterError(f"{path}.{name}", "is required")


def normalized_input(given: str | Sequence[InputItem]) -> list[JsonObject]:
    """The request's ``input`` as items. Raises InvalidParameterError."""
    if isinstance(given, str):
        message = InputItem.model_validate({"role": "user", "content": given})
        return [message.normalized("input")]
    return [item.normalized(f"input[{index}]") for index, item in enumerate(given)]


def to_messages(items: Iterable[JsonObject]) -> list[Message]:
    """Normalized items as messages: the reasoning, text and calls of one turn of the assistant are
    one message."""
    messages: list[Message] = []
    for item in items:
        match item["type"]:
            case "message":
                _add_message(messages, item)
            case "reasoning":
                text = "".join(part["text"] for part in item["content"])
                messages.append(new_message("assistant", reasoning=text))
            case "function_call":
                turn = _turn(messages)
                if turn is None or len(turn.tool_calls or ()) >= MAX_TOOL_CALLS:
                    turn = new_message("assistant")
                    messages.append(turn)
                turn.tool_calls = [*(turn.tool_calls or ()), _call(item)]
            case "function_call_output":
                result = {"tool_call_id": item["call_id"], "content": item["output"]}
                messages.append(new_message("tool", **result))
    return messages


def _add_message(messages: list[Message], item: JsonObject) -> None:
    texts = [part["text"] for part in item["content"]]
    content: str | list[ContentPart] = (
        texts[0] if len(texts) == 1 else [ContentPart(type="text", text=text) for text in texts]
    )
    turn = _turn(messages) if item["role"] == "assistant" else None
    if turn is not None and turn.content is None and not turn.tool_calls:
        turn.content = content
    else:
        messages.append(new_message(item["role"], content=content))


def _turn(messages: list[Message]) -> Message | None:
    """The assistant's turn that goes on."""
    return messages[-1] if messages and messages[-1].role == "assistant" else None


def new_message(role: str, **fields: object) -> Message:
    return Message.model_validate({"role": role, **fields})


def _call(item: JsonObject) -> MessageToolCall:
    function = CalledFunction(name=item["name"], arguments=item["arguments"])
    return MessageToolCall(id=item["call_id"], function=function)


def _text(given: str | Sequence[ItemPart] | None, path: str) -> str:
    if given is None or isinstance(given, str):
        return given or ""
    return "\n".join(part.text_of(f"{path}[{index}]") for index, part in enumerate(given))
