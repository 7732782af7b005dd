"""The chunks of a streaming response, encoded as events."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import orjson

from headrace.core.generation.outputs import ChoiceDelta
from headrace.server.api.schemas.requests import GenerationRequest
from headrace.server.generation import TokenUsage
from headrace.server.http.json_body import JsonObject
from headrace.server.http.sse import DONE, data_event

_PLACEHOLDER = "\x00text\x00"


@dataclass(frozen=True, slots=True)
class _Template:
    """A choice's encoded chunk, split at its text."""

    before: bytes
    after: bytes


class ChunkWriter(ABC):
    """Encodes deltas as events; each endpoint defines its choices.

    Most deltas carry text only. For these, the chunk is encoded once per choice with a placeholder
    in place of the text; each further chunk costs the encoding of its text and one join.
    """

    def __init__(self, envelope: JsonObject, body: GenerationRequest, usage: TokenUsage) -> None:
        self._envelope = envelope
        self._usage = usage
        self._include_usage = body.include_usage
        self._continuous_usage = body.continuous_usage
        self._with_token_ids = bool(body.return_token_ids)
        self._plain = not (self._continuous_usage or self._with_token_ids or body.logprobs_wanted)
        self._started: set[int] = set()
        """Indices of choices whose first delta was sent."""
        self._templates: dict[int, _Template] = {}
        """By choice index, if chunks carry text only."""

    def write(self, delta: ChoiceDelta) -> bytes:
        """The events for one delta."""
        template = self._templates.get(delta.index)
        if template is not None and delta.finish_reason is None:
            return b"".join((template.before, orjson.dumps(delta.text), template.after))
        if delta.index in self._started:
            return self._event(self.choice(delta))
        self._started.add(delta.index)
        if self._plain:
            self._templates[delta.index] = self._template(delta.index)
        return self.first(delta)

    def end(self) -> bytes:
        """The last events of a stream that succeeded."""
        if not self._include_usage:
            return DONE
        chunk = {**self._envelope, "choices": [], "usage": self._usage.to_dict()}
        return data_event(orjson.dumps(chunk)) + DONE

    @abstractmethod
    def choice(self, delta: ChoiceDelta) -> JsonObject:
        """The entry of the chunk's "choices" for this delta."""

    @abstractmethod
    def first(self, delta: ChoiceDelta) -> bytes:
        """The events for the first delta of a choice."""

    def _event(self, choice: JsonObject, num_unsent: int = 0, **extra: object) -> bytes:
        """num_unsent: output tokens of the delta that are sent with a later event."""
        chunk: JsonObject = {**self._envelope, "choices": [choice], **extra}
        if self._continuous_usage:
            chunk["usage"] = self._usage.to_dict(num_unsent)
        elif self._include_usage:
            chunk["usage"] = None
        return data_event(orjson.dumps(chunk))

    def _template(self, index: int) -> _Template:
        event = self._event(self.choice(ChoiceDelta(index, _PLACEHOLDER, [])))
        before, after = event.split(orjson.dumps(_PLACEHOLDER))
        return _Template(before, after)
