"""The events of an answer: what each piece of a model's output is.

They know no API's chunk format: chat completions are written from them, as any other API can be.
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the reasoning before the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallBegin:
    """A tool call begins. Its arguments follow."""

    index: int
    """Position among the answer's calls, from 0 on."""
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """A piece of a call's arguments, which are a JSON object as text."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallEnd:
    """A tool call ends."""

    index: int
    is_complete: bool
    """Whether the arguments are a whole JSON object. False if the output ended within them, or
    went on with something else."""


OutputEvent = ContentDelta | ReasoningDelta | ToolCallBegin | ArgumentsDelta | ToolCallEnd

NewCallId = Callable[[], str]


def new_call_id() -> str:
    """An id in OpenAI's form."""
    return f"call_{secrets.token_hex(12)}"


@dataclass(slots=True)
class ToolCall:
    """A whole tool call."""

    call_id: str
    name: str
    arguments: str = ""
    is_complete: bool = False


@dataclass(slots=True)
class Answer:
    """A whole answer, assembled from its events."""

    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)

    def add(self, events: Iterable[OutputEvent]) -> None:
        for event in events:
            match event:
                case ContentDelta(text):
                    self.content += text
                case ReasoningDelta(text):
                    self.reasoning += text
                case ToolCallBegin(_, call_id, name):
                    self.tool_calls.append(ToolCall(call_id, name))
                case ArgumentsDelta(index, text):
                    self.tool_calls[index].arguments += text
                case ToolCallEnd(index, is_complete):
                    self.tool_calls[index].is_complete = is_complete


class EventSink:
    """Collects events; pieces of the same text are joined."""

    def __init__(self, new_id: NewCallId, max_calls: int | None = None) -> None:
        """max_calls: further calls are left out."""
        self._new_id = new_id
        self._max_calls = max_calls
        self._events: list[OutputEvent] = []
        self._pieces: list[str] = []
        self._kind: type[ContentDelta | ReasoningDelta | ArgumentsDelta] = ContentDelta
        self._num_calls = 0
        self.is_call_open = False

    def content(self, text: str) -> None:
        self._add(ContentDelta, text)

    def reasoning(self, text: str) -> None:
        self._add(ReasoningDelta, text)

    def begin_call(self, name: str, call_id: str | None = None) -> None:
        self._flush()
        self.is_call_open = True
        self._num_calls += 1
        if self._is_reported:
            self._events.append(ToolCallBegin(self._num_calls - 1, call_id or self._new_id(), name))

    def arguments(self, text: str) -> None:
        if self._is_reported:
            self._add(ArgumentsDelta, text)

    def end_call(self, *, is_complete: bool) -> None:
        self._flush()
        self.is_call_open = False
        if self._is_reported:
            self._events.append(ToolCallEnd(self._num_calls - 1, is_complete))

    def take(self) -> list[OutputEvent]:
        """The events since the last time."""
        self._flush()
        events, self._events = self._events, []
        return events

    @property
    def _is_reported(self) -> bool:
        return self._max_calls is None or self._num_calls <= self._max_calls

    def _add(self, kind: type[ContentDelta | ReasoningDelta | ArgumentsDelta], text: str) -> None:
        if not text:
            return
        if kind is not self._kind:
            self._flush()
            self._kind = kind
        self._pieces.append(text)

    def _flush(self) -> None:
        if not self._pieces:
            return
        text = "".join(self._pieces)
        self._pieces = []
        if self._kind is ArgumentsDelta:
            self._events.append(ArgumentsDelta(self._num_calls - 1, text))
        elif self._kind is ReasoningDelta:
            self._events.append(ReasoningDelta(text))
        else:
            self._events.append(ContentDelta(text))
