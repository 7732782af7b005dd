"""The events of the choices of one request, from the engine's deltas."""

from collections.abc import Callable, Mapping
from typing import Protocol

from headrace.core.generation.outputs import ChoiceDelta
from headrace.server.parsing.events import ContentDelta, OutputEvent, ToolCallEnd
from headrace.server.parsing.output_parser import OutputParser


class AnswerEvents(Protocol):
    """Turns deltas into events, each choice by itself."""

    def events(self, delta: ChoiceDelta) -> list[OutputEvent]:
        """The events of one delta; of the last delta of a choice, up to its end."""

    def has_calls(self, index: int) -> bool:
        """Whether this choice has a complete tool call so far."""


class PlainAnswers:
    """The outputs are the content as they are."""

    def events(self, delta: ChoiceDelta) -> list[OutputEvent]:
        return [ContentDelta(delta.text)] if delta.text else []

    def has_calls(self, index: int) -> bool:
        return False


class AnswerStream:
    """Parses each choice by a parser of its own. Any API's stream can be written from it."""

    def __init__(
        self, new_parser: Callable[[], OutputParser], special_tokens: Mapping[int, str]
    ) -> None:
        """special_tokens: texts of the tokens that are left out of content and reasoning, by id."""
        self._new_parser = new_parser
        self._special_tokens = special_tokens
        self._parsers: dict[int, OutputParser] = {}
        self._called: set[int] = set()

    def events(self, delta: ChoiceDelta) -> list[OutputEvent]:
        """The events of one delta; of the last delta of a choice, up to its end."""
        parser = self._parsers.get(delta.index)
        if parser is None:
            parser = self._parsers[delta.index] = self._new_parser()
        special = self._special_tokens
        dropped = [special[each] for each in delta.token_ids if each in special]
        events = parser.push(delta.text, dropped)
        if delta.finish_reason is not None:
            events += parser.finish()
        if any(isinstance(event, ToolCallEnd) and event.is_complete for event in events):
            self._called.add(delta.index)
        return events

    def has_calls(self, index: int) -> bool:
        """Whether this choice has a complete tool call so far."""
        return index in self._called
