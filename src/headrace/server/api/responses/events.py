"""The stream of a response as server-sent events, in OpenAI's order."""

from collections.abc import AsyncIterator, Callable

import orjson

from headrace.core.generation.outputs import ChoiceDelta, FinishReason
from headrace.server.api.responses.chat_request import PARAM_NAMES
from headrace.server.api.responses.output_items import OutputItems
from headrace.server.api.responses.response_object import ResponseObject
from headrace.server.generation import Generation
from headrace.server.http.errors import ApiError
from headrace.server.http.json_body import JsonObject
from headrace.server.http.sse import named_event


class ResponseEvents:
    """The events of one response. The first ones are sent with the first token, so that what fails
    before it has its own status, and the time to the first event is that to the first token."""

    def __init__(
        self,
        response: ResponseObject,
        output: OutputItems,
        generation: Generation,
        on_finished: Callable[[JsonObject], None],
    ) -> None:
        """on_finished: called with the whole response before the client gets it."""
        self._response = response
        self._output = output
        self._generation = generation
        self._on_finished = on_finished
        self._num_events = 0

    async def encoded(self) -> AsyncIterator[bytes]:
        """Raises as Generation.deltas() does."""
        reason: FinishReason | None = None
        with PARAM_NAMES.apply():
            async for delta in self._generation.deltas():
                reason = delta.finish_reason
                if events := self._of(delta):
                    yield b"".join(map(self._encode, events))
        output = self._output
        whole = self._response.finished(
            reason, output.items, self._generation.usage, output.num_reasoning_tokens
        )
        self._on_finished(whole)
        yield self._encode({"type": f"response.{whole['status']}", "response": whole})

    def failed(self, error: ApiError) -> bytes:
        """The last event of a stream that failed."""
        response = self._response.failed(error, self._output.items)
        return self._encode({"type": "response.failed", "response": response})

    def _of(self, delta: ChoiceDelta) -> list[JsonObject]:
        events: list[JsonObject] = []
        if not self._num_events:
            response = self._response.in_progress()
            events = [
                {"type": "response.created", "response": response},
                {"type": "response.in_progress", "response": response},
            ]
        return events + self._output.add(delta)

    def _encode(self, event: JsonObject) -> bytes:
        kind = event["type"]
        data = orjson.dumps({"type": kind, "sequence_number": self._num_events, **event})
        self._num_events += 1
        return named_event(kind, data)
