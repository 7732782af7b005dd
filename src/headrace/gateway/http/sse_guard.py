"""Forwards whole server-sent events only, so that a cut stream can end with an error event.

Only the bytes after the end of the last complete event are buffered.
"""

import re

MAX_NUM_BUFFERED = 256 * 1024
"""In bytes. After a longer event the stream is forwarded unguarded."""

_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")
"""An empty line, with any of the line endings."""


_is_error = re.compile(
    rb"^data: ?\{\s*\"error\"|^event: ?(?:error|response\.failed)\s*$", re.MULTILINE
).search
_ends_stream = re.compile(
    rb"^event: ?(?:message_stop|response\.(?:completed|incomplete|failed))\s*$", re.MULTILINE
).search
"""The last events of OpenAI's Responses API and of Anthropic's Messages API."""


class SseGuard:
    __slots__ = ("_before_last", "_buffered", "_last", "is_off")

    def __init__(self) -> None:
        self._buffered = b""
        self._last = b""
        self._before_last = b""
        self.is_off = False
        """An event was too long to buffer: all bytes are forwarded as they come."""

    def feed(self, data: bytes) -> bytes:
        """The bytes to forward now, of this piece and of those that were buffered."""
        if self.is_off:
            return data
        if self._buffered:
            data = self._buffered + data
        if data.endswith(b"\n\n"):
            self._buffered = b""
            self._before_last = self._last
            self._last = data
            return data
        end = _end_of_last_event(data)
        buffered = data[end:]
        if len(buffered) > MAX_NUM_BUFFERED:
            self.is_off = True
            self._buffered = b""
            return data
        self._buffered = buffered
        if end:
            self._before_last = self._last
            self._last = data[:end]
        return data[:end]

    def rest(self) -> bytes:
        """The stream is complete: the bytes that are still buffered."""
        buffered = self._buffered
        self._buffered = b""
        return buffered

    @property
    def last_parts(self) -> tuple[bytes, bytes]:
        """The last two pieces that were forwarded, the last one first."""
        return self._last, self._before_last

    @property
    def is_done(self) -> bool:
        """Whether the last whole event is one that ends streams, such as OpenAI's ``[DONE]``."""
        if self._buffered:
            return False
        if self._last.rstrip().endswith((b"data: [DONE]", b"data:[DONE]")):
            return True
        return _ends_stream(self._last) is not None

    @property
    def names_events(self) -> bool:
        """Events have the field ``event``, as in the Responses and the Messages API."""
        return self._last.startswith(b"event:")

    @property
    def ended_in_error(self) -> bool:
        """Whether the last event, or the one before it (if ``[DONE]`` came alone), is an error in
        OpenAI's or Anthropic's shape."""
        last, before_last = self._last, self._before_last
        if b'"error"' not in last and b'"error"' not in before_last:
            return False
        return _is_error(last) is not None or _is_error(before_last) is not None


def _end_of_last_event(data: bytes) -> int:
    """Where the last whole event ends; 0 if there is none."""
    starts = [(data.rfind(end), len(end)) for end in _ENDS]
    return max((start + length for start, length in starts if start >= 0), default=0)
