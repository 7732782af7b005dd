"""Lets only whole server-sent events through, so that a cut stream can end with an error event.

Holds back the bytes after the last event's end, and nothing else. Knows neither where the bytes
come from nor what is in the events.
"""

import re

MAX_NUM_HELD = 256 * 1024
"""A stream with an event longer than this is not guarded any more."""

_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
"""An empty line, whichever way lines end."""


_is_error = re.compile(rb"^data: ?\{\s*\"error\"", re.MULTILINE).search


class SseGuard:
    __slots__ = ("_before_last", "_held", "_last", "is_off")

    def __init__(self) -> None:
        self._held = b""
        self._last = b""
        self._before_last = b""
        self.is_off = False
        """An event was too long to hold: everything passes, in the middle of events too."""

    def feed(self, data: bytes) -> bytes:
        """What may pass of this piece and of what was held before."""
        if self.is_off:
            return data
        if self._held:
            data = self._held + data
        if data.endswith(b"\n\n"):
            self._held = b""
            self._before_last = self._last
            self._last = data
            return data
        end = _end_of_last_event(data)
        held = data[end:]
        if len(held) > MAX_NUM_HELD:
            self.is_off = True
            self._held = b""
            return data
        self._held = held
        if end:
            self._before_last = self._last
            self._last = data[:end]
        return data[:end]

    def rest(self) -> bytes:
        """The stream ended as it should: what is still held."""
        held = self._held
        self._held = b""
        return held

    @property
    def is_done(self) -> bool:
        """Whether the last whole event is the ``[DONE]`` that ends OpenAI's streams."""
        return not self._held and self._last.rstrip().endswith((b"data: [DONE]", b"data:[DONE]"))

    @property
    def ended_in_error(self) -> bool:
        """Whether one of the events that came last is an error in OpenAI's shape. What ends the
        stream may have come by itself."""
        last, before_last = self._last, self._before_last
        if b'"error"' not in last and b'"error"' not in before_last:
            return False
        return _is_error(last) is not None or _is_error(before_last) is not None


def _end_of_last_event(data: bytes) -> int:
    """Where the last whole event ends; 0 if there is none."""
    starts = [(data.rfind(end), len(end)) for end in _ENDS]
    return max((start + length for start, length in starts if start >= 0), default=0)
