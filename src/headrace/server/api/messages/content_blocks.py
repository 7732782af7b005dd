"""The content blocks of a message, and the events of its stream, from the events of an answer.

Both come from the same steps, so a stream's blocks are those of the whole message.
"""

from pydantic_core import from_json

from headrace.core.generation.outputs import ChoiceDelta
from headrace.server.api.chat.reasoning_tokens import ReasoningTokens
from headrace.server.http.json_body import JsonObject
from headrace.server.parsing.answer_stream import AnswerEvents
from headrace.server.parsing.events import (
    ArgumentsDelta,
    ContentDelta,
    OutputEvent,
    ReasoningDelta,
    ToolCallBegin,
    ToolCallEnd,
)


class ContentBlocks:
    """The blocks of one message, in the order of the model's output."""

    def __init__(self, answers: AnswerEvents, *, with_thinking: bool) -> None:
        self._answers = answers
        self._with_thinking = with_thinking
        self._reasoning_tokens = ReasoningTokens()
        self._block: JsonObject | None = None
        """The last one, while it is in progress."""
        self._arguments = ""
        """Of a call in progress."""
        self._events: list[JsonObject] = []
        self.blocks: list[JsonObject] = []

    @property
    def num_thinking_tokens(self) -> int:
        return self._reasoning_tokens.num_tokens

    @property
    def has_calls(self) -> bool:
        """Whether there is a complete tool call so far."""
        return self._answers.has_calls(0)

    def add(self, delta: ChoiceDelta) -> list[JsonObject]:
        """The stream's events for one delta."""
        events = self._answers.events(delta)
        self._reasoning_tokens.add(delta, events)
        for event in events:
            self._add(event)
        if delta.finish_reason is not None:
            self._end()
        found, self._events = self._events, []
        return found

    def _add(self, event: OutputEvent) -> None:
        match event:
            case ContentDelta(text):
                self._current("text", text="")["text"] += text
                self._delta("text_delta", text=text)
            case ReasoningDelta(text):
                if self._with_thinking:
                    self._current("thinking", thinking="", signature="")["thinking"] += text
                    self._delta("thinking_delta", thinking=text)
            case ToolCallBegin(_, call_id, name):
                self._begin({"type": "tool_use", "id": call_id, "name": name, "input": {}})
            case ArgumentsDelta(_, text):
                self._arguments += text
                self._delta("input_json_delta", partial_json=text)
            case ToolCallEnd():
                self._end()

    def _current(self, kind: str, **fields: str) -> JsonObject:
        """The block in progress; a new one if it is of another type."""
        block = self._block
        if block is None or block["type"] != kind:
            block = self._begin({"type": kind, **fields})
        return block

    def _begin(self, block: JsonObject) -> JsonObject:
        self._end()
        self.blocks.append(block)
        self._block = block
        self._event("content_block_start", content_block=dict(block))
        return block

    def _delta(self, kind: str, **fields: str) -> None:
        self._event("content_block_delta", delta={"type": kind, **fields})

    def _end(self) -> None:
        """End the block in progress, if there is one."""
        block = self._block
        if block is None:
            return
        if block["type"] == "tool_use":
            block["input"] = _input(self._arguments)
            self._arguments = ""
        self._event("content_block_stop")
        self._block = None

    def _event(self, kind: str, **fields: object) -> None:
        self._events.append({"type": kind, "index": len(self.blocks) - 1, **fields})


def _input(arguments: str) -> JsonObject:
    """The arguments as an object. Of a call that was cut, what came of them, as Anthropic's clients
    read a stream."""
    if not arguments:
        return {}
    try:
        value = from_json(arguments, allow_partial=True)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
