"""Reads gpt-oss' harmony format: messages with channels.

A message is a header, ``<|message|>``, and a body up to the next marker. The header's channel says
whether the body is reasoning (analysis) or content (final, commentary). With one of the tools as
its recipient, the message is a call.
"""

import re
from collections.abc import Mapping
from typing import Any

from headrace.server.parsing.call_parser import CallParser
from headrace.server.parsing.events import EventSink
from headrace.server.parsing.reader import Emit, MalformedError, Markers, Step, TextReader

_CHANNEL, _MESSAGE, _START = "<|channel|>", "<|message|>", "<|start|>"
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_BEFORE_MESSAGE = Markers((_START, _CHANNEL, *_ENDS))
_IN_HEADER = Markers((_MESSAGE,))
_IN_BODY = Markers((_START, _CHANNEL, *_ENDS))
_RECIPIENT = re.compile(r"to=(?:functions\.)?([^\s<]+)")
_CHANNEL_NAME = re.compile(r"<\|channel\|>\s*(\w+)")


class ChannelParser:
    """Reads the messages of one answer."""

    def __init__(
        self,
        reader: TextReader,
        sink: EventSink,
        calls: CallParser | None,
        tools: Mapping[str, Any],
    ) -> None:
        self._reader = reader
        self._sink = sink
        self._calls = calls
        self._tools = tools

    def messages(self) -> Step[None]:
        """Read messages up to the end of the output."""
        reader, sink = self._reader, self._sink
        marker = yield from reader.copy_until(_BEFORE_MESSAGE, sink.content)
        while marker is not None:
            if marker in _ENDS:
                yield from reader.space()
                marker = yield from reader.copy_until(_BEFORE_MESSAGE, sink.content)
                continue
            reader.hold(len(marker))
            pieces = [marker]
            if (yield from reader.copy_until(_IN_HEADER, pieces.append)) is None:
                sink.content(reader.release())
                return
            marker = yield from self._body("".join(pieces))

    def _body(self, header: str) -> Step[str | None]:
        """Read a message's body; returns the marker after it."""
        reader, sink = self._reader, self._sink
        found = _CHANNEL_NAME.search(header)
        channel = found[1] if found is not None else "final"
        recipient = _RECIPIENT.search(header)
        reader.release()
        emit: Emit = sink.reasoning if channel == "analysis" else sink.content
        if recipient is not None and self._calls is not None and recipient[1] in self._tools:
            try:
                yield from self._calls.arguments(recipient[1])
                yield from reader.space()
            except MalformedError:
                if sink.is_call_open:
                    sink.end_call(is_complete=False)
                emit(reader.release())
        return (yield from reader.copy_until(_IN_BODY, emit))
