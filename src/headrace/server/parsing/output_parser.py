"""The parser of one answer: a model's output, as it arrives, as events.

White space next to a marker is part of the format, not of a text. No other character is lost: what
looks like a call and is none is content.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from headrace.server.parsing.call_parser import CallParser
from headrace.server.parsing.channels import ChannelParser
from headrace.server.parsing.events import EventSink, NewCallId, OutputEvent, new_call_id
from headrace.server.parsing.parameter_values import ToolSchemas
from headrace.server.parsing.reader import Emit, MalformedError, Markers, Step, TextReader
from headrace.server.parsing.tool_format import ReasoningFormat, ToolFormat


@dataclass(frozen=True)
class OutputSyntax:
    """What to look for in the outputs of one model. Made once; parsers share it."""

    calls: ToolFormat | None
    """None: calls are not parsed."""
    reasoning: ReasoningFormat | None
    special_texts: frozenset[str] = frozenset()
    """The texts of the tokenizer's special tokens: those that occur are left out of the text."""
    in_content: Markers = field(init=False)
    in_reasoning: Markers = field(init=False)

    def __post_init__(self) -> None:
        begins = () if self.calls is None else self.calls.begins
        ends = () if self.reasoning is None else (self.reasoning.end,)
        object.__setattr__(self, "in_content", Markers((*begins, *self.special_texts)))
        object.__setattr__(self, "in_reasoning", Markers((*ends, *begins, *self.special_texts)))

    @property
    def is_plain(self) -> bool:
        """There is nothing to look for: the output is the content."""
        return self.calls is None and self.reasoning is None


class OutputParser:
    """Parses one output. Texts may be divided in any way."""

    def __init__(
        self,
        syntax: OutputSyntax,
        *,
        tools: ToolSchemas | None = None,
        starts_in_reasoning: bool = False,
        max_calls: int | None = None,
        new_id: NewCallId = new_call_id,
    ) -> None:
        """tools: of the request. starts_in_reasoning: the prompt ends with the begin of a
        reasoning block. max_calls: further calls are left out."""
        self._syntax = syntax
        self._reader = TextReader()
        self._sink = EventSink(new_id, max_calls)
        self._dropped: set[str] = set()
        """Texts of special tokens that occurred."""
        self._calls = (
            None
            if syntax.calls is None
            else CallParser(self._reader, self._sink, syntax.calls, tools or {})
        )
        if syntax.calls is not None and syntax.calls.is_harmony:
            channels = ChannelParser(self._reader, self._sink, self._calls, tools or {})
            self._run = channels.messages()
        else:
            self._run = self._answer(starts_in_reasoning)

    def push(self, text: str, special_texts: Iterable[str] = ()) -> list[OutputEvent]:
        """The events of the next piece of the output.

        special_texts: of the special tokens in it, which are left out of the text where they are
        no markers.
        """
        self._dropped.update(special_texts)
        if text:
            self._reader.push(text)
            next(self._run, None)
        return self._sink.take()

    def finish(self) -> list[OutputEvent]:
        """The last events, at the end of the output."""
        self._reader.close()
        next(self._run, None)
        return self._sink.take()

    def _answer(self, in_reasoning: bool) -> Step[None]:
        """Reasoning and calls, with content between them."""
        sink, reasoning = self._sink, self._syntax.reasoning
        before: _Before | None = "reasoning" if in_reasoning else "start"
        if in_reasoning and reasoning is not None:
            yield from self._reader.space()
            yield from self._take(reasoning.begin)
            if not (yield from self._reasoning(reasoning.end)):
                return
        while True:
            begin = None
            if before is not None:
                begin = yield from self._boundary(before)
            if begin is not None and reasoning is not None and begin == reasoning.begin:
                yield from self._reader.space()
                if not (yield from self._reasoning(reasoning.end)):
                    return
                before = "reasoning"
                continue
            if begin is None:
                begin = yield from self._copy(self._syntax.in_content, sink.content)
                if begin is None:
                    return
            before = "call" if (yield from self._section(begin, sink.content)) else None

    def _reasoning(self, end: str) -> Step[bool]:
        """The rest of a block of reasoning, and whether it ends."""
        text = _EndTrimmer(self._sink.reasoning)
        while True:
            marker = yield from self._copy(self._syntax.in_reasoning, text.write)
            if marker == end:
                return True
            text.flush()
            if marker is None:
                return False
            yield from self._section(marker, self._sink.reasoning)

    def _boundary(self, before: "_Before") -> Step[str | None]:
        """The marker, read, that follows white space at the beginning of the output or after a
        marker; empty for a bare call, None for content.

        White space at the beginning is held: it is content unless a marker follows it.
        """
        reader, calls, reasoning = self._reader, self._syntax.calls, self._syntax.reasoning
        reader.hold()
        yield from reader.space()
        if before != "start":
            reader.release()
        begins = () if calls is None else calls.begins
        found = yield from reader.next_of((*begins, *_begins(reasoning)))
        if found is not None:
            if found not in begins:
                reader.release()
            reader.skip(len(found))
            return found
        if calls is not None and calls.may_be_bare and before != "call":
            char = yield from reader.peek()
            if char and char in "[{":
                return ""
        self._sink.content(reader.release())
        return None

    def _section(self, begin: str, emit: Emit) -> Step[bool]:
        """The calls after their begin, and whether they are calls. What is none becomes text."""
        assert self._calls is not None
        self._reader.hold(len(begin))
        try:
            yield from self._calls.calls(begin)
        except MalformedError:
            if self._sink.is_call_open:
                self._sink.end_call(is_complete=False)
            emit(self._reader.release())
            return False
        return True

    def _copy(self, markers: Markers, emit: Emit) -> Step[str | None]:
        """Text up to the next marker of the format, without special tokens."""
        while True:
            marker = yield from self._reader.copy_until(markers, emit)
            if marker is None or not self._is_special_only(marker):
                return marker
            if marker not in self._dropped:
                emit(marker)

    def _is_special_only(self, marker: str) -> bool:
        calls, reasoning = self._syntax.calls, self._syntax.reasoning
        if reasoning is not None and marker == reasoning.end:
            return False
        return calls is None or marker not in calls.begins

    def _take(self, text: str) -> Step[None]:
        if (yield from self._reader.next_of((text,))) is not None:
            self._reader.skip(len(text))
            yield from self._reader.space()


_Before = Literal["start", "reasoning", "call"]
"""What ended where a marker may follow."""


class _EndTrimmer:
    """Passes a text on without white space at its end."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._space = ""

    def write(self, text: str) -> None:
        text = self._space + text
        kept = text.rstrip()
        self._space = text[len(kept) :]
        self._emit(kept)

    def flush(self) -> None:
        """Pass on the white space after all."""
        self._emit(self._space)
        self._space = ""


def _begins(reasoning: ReasoningFormat | None) -> tuple[str, ...]:
    return () if reasoning is None else (reasoning.begin,)
