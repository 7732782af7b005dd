"""The message as an object, and its stream as server-sent events in Anthropic's order."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from headrace.core.generation.outputs import ChoiceDelta, FinishReason
from headrace.server.api.messages.chat_request import PARAM_NAMES
from headrace.server.api.messages.content_blocks import ContentBlocks
from headrace.server.generation import Generation, TokenUsage
from headrace.server.http.errors import ApiError
from headrace.server.http.json_body import JsonObject
from headrace.server.http.sse import named_event

_ENDS = ("stop_reason", "stop_sequence", "stop_details")
"""The fields of a message that are known at its end."""


@dataclass(frozen=True, kw_only=True)
class MessageObject:
    """The message of one request."""

    message_id: str
    model: str
    max_tokens: int
    """As requested."""
    content: ContentBlocks
    usage: TokenUsage

    def started(self) -> JsonObject:
        return self._object(self._usage(), [], None, None)

    def finished(self, reason: FinishReason | None, stop: str | int | None) -> JsonObject:
        """stop: the stop string that ended it, if one did."""
        return self._object(
            self._final_usage(),
            self.content.blocks,
            self._stop_reason(reason, stop),
            stop if isinstance(stop, str) else None,
        )

    def end_events(self, reason: FinishReason | None, stop: str | int | None) -> list[JsonObject]:
        """The last events of a stream."""
        whole = self.finished(reason, stop)
        delta = {name: whole[name] for name in _ENDS}
        return [
            {"type": "message_delta", "delta": delta, "usage": whole["usage"]},
            {"type": "message_stop"},
        ]

    def _object(
        self,
        usage: JsonObject,
        content: list[JsonObject],
        stop_reason: str | None,
        stop_sequence: str | None,
    ) -> JsonObject:
        return {
            "id": self.message_id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": stop_sequence,
            "stop_details": None,
            "usage": usage,
        }

    def _stop_reason(self, reason: FinishReason | None, stop: str | int | None) -> str:
        if reason is FinishReason.LENGTH:
            is_full = self.usage.num_output_tokens < self.max_tokens
            return "model_context_window_exceeded" if is_full else "max_tokens"
        if self.content.has_calls:
            return "tool_use"
        return "stop_sequence" if isinstance(stop, str) else "end_turn"

    def _usage(self) -> JsonObject:
        """As in Anthropic's API, input_tokens are those that are not cached."""
        cached = self.usage.num_cached_tokens
        return {
            "input_tokens": self.usage.num_prompt_tokens - cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": self.usage.num_output_tokens,
        }

    def _final_usage(self) -> JsonObject:
        thinking = {"thinking_tokens": self.content.num_thinking_tokens}
        return {**self._usage(), "output_tokens_details": thinking}


class MessageEvents:
    """The events of one message. The first ones are sent with the first token, so that what fails
    before it has its own status, and the time to the first event is that to the first token."""

    def __init__(self, message: MessageObject, generation: Generation) -> None:
        self._message = message
        self._generation = generation
        self._has_begun = False

    async def encoded(self) -> AsyncIterator[bytes]:
        """Raises as Generation.deltas() does."""
        last: ChoiceDelta | None = None
        with PARAM_NAMES.apply():
            async for delta in self._generation.deltas():
                last = delta
                if events := self._of(delta):
                    yield b"".join(map(_encode, events))
        if last is not None:
            ended = self._message.end_events(last.finish_reason, last.stop_reason)
            yield b"".join(map(_encode, ended))

    def _of(self, delta: ChoiceDelta) -> list[JsonObject]:
        events: list[JsonObject] = []
        if not self._has_begun:
            self._has_begun = True
            message = self._message.started()
            events = [{"type": "message_start", "message": message}, {"type": "ping"}]
        return events + self._message.content.add(delta)


def error_event(error: ApiError) -> bytes:
    """The last event of a stream that failed."""
    return named_event("error", orjson.dumps(error.anthropic_body))


def _encode(event: JsonObject) -> bytes:
    return named_event(event["type"], orjson.dumps(event))
