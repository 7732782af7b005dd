"""The output items of a response, and the events of its stream, from the events of an answer.

Both come from the same steps, so a stream's items are those of the whole response.
"""

from uuid import uuid4

from headrace.core.generation.outputs import ChoiceDelta, FinishReason
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.api.chat.reasoning_tokens import ReasoningTokens
from headrace.server.api.logprobs import chat_logprobs
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


class OutputItems:
    """The items of one response, in the order of the model's output."""

    def __init__(self, answers: AnswerEvents, tokenizer: Tokenizer) -> None:
        self._answers = answers
        self._tokenizer = tokenizer
        self._reasoning_tokens = ReasoningTokens()
        self._item: JsonObject | None = None
        """The last one, while it is in progress."""
        self._logprobs: list[JsonObject] = []
        """Of tokens whose text did not come yet."""
        self._events: list[JsonObject] = []
        self.items: list[JsonObject] = []

    @property
    def num_reasoning_tokens(self) -> int:
        return self._reasoning_tokens.num_tokens

    def add(self, delta: ChoiceDelta) -> list[JsonObject]:
        """The stream's events for one delta, without their sequence numbers."""
        events = self._answers.events(delta)
        self._reasoning_tokens.add(delta, events)
        if delta.logprobs:
            self._logprobs += chat_logprobs(self._tokenizer, delta.logprobs)["content"]
        for event in events:
            self._add(event)
        if events:
            self._logprobs = []
        if delta.finish_reason is not None:
            self._finish(delta.finish_reason)
        found, self._events = self._events, []
        return found

    def _add(self, event: OutputEvent) -> None:
        match event:
            case ContentDelta(text):
                self._text(text)
            case ReasoningDelta(text):
                self._reasoning(text)
            case ToolCallBegin(_, call_id, name):
                call = {"call_id": call_id, "name": name, "arguments": ""}
                self._begin({"id": _new_id("fc"), "type": "function_call", **call})
            case ArgumentsDelta(_, text):
                item = self._current("function_call")
                item["arguments"] += text
                self._emit("response.function_call_arguments.delta", delta=text)
            case ToolCallEnd(_, is_complete):
                self._end("completed" if is_complete else "incomplete")

    def _text(self, text: str) -> None:
        item = self._item
        if item is None or item["type"] != "message":
            self._begin_message()
            item = self._current("message")
        [part] = item["content"]
        part["text"] += text
        logprobs, self._logprobs = self._logprobs, []
        part["logprobs"] += logprobs
        self._emit("response.output_text.delta", content_index=0, delta=text, logprobs=logprobs)

    def _begin_message(self) -> None:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        self._begin({"id": _new_id("msg"), "type": "message", "role": "assistant"}, part)

    def _reasoning(self, text: str) -> None:
        item = self._item
        if item is None or item["type"] != "reasoning":
            part = {"type": "reasoning_text", "text": ""}
            self._begin({"id": _new_id("rs"), "type": "reasoning", "summary": []}, part)
            item = self._current("reasoning")
        item["content"][0]["text"] += text
        self._emit("response.reasoning_text.delta", content_index=0, delta=text)

    def _current(self, kind: str) -> JsonObject:
        assert self._item is not None
        assert self._item["type"] == kind
        return self._item

    def _begin(self, item: JsonObject, part: JsonObject | None = None) -> None:
        """part: of the item's content."""
        self._end("completed")
        item["status"] = "in_progress"
        if part is not None:
            item["content"] = []
        self.items.append(item)
        self._item = item
        self._event("response.output_item.added", item=dict(item))
        if part is not None:
            self._emit("response.content_part.added", content_index=0, part=dict(part))
            item["content"] = [part]

    def _end(self, status: str) -> None:
        """End the item in progress, if there is one."""
        item = self._item
        if item is None:
            return
        if item["type"] == "function_call":
            arguments = item["arguments"]
            self._emit(
                "response.function_call_arguments.done", name=item["name"], arguments=arguments
            )
        else:
            [part] = item["content"]
            if item["type"] == "message":
                logprobs = part["logprobs"]
                self._emit(
                    "response.output_text.done",
                    content_index=0,
                    text=part["text"],
                    logprobs=logprobs,
                )
            else:
                self._emit("response.reasoning_text.done", content_index=0, text=part["text"])
            self._emit("response.content_part.done", content_index=0, part=part)
        item["status"] = status
        self._event("response.output_item.done", item=item)
        self._item = None

    def _finish(self, reason: FinishReason) -> None:
        if not self.items:
            self._begin_message()  # an empty answer is a message too
        self._end("incomplete" if reason is FinishReason.LENGTH else "completed")

    def _emit(self, kind: str, **fields: object) -> None:
        assert self._item is not None
        self._event(kind, item_id=self._item["id"], **fields)

    def _event(self, kind: str, **fields: object) -> None:
        self._events.append({"type": kind, "output_index": len(self.items) - 1, **fields})


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"
