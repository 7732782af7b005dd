"""Parses server-sent events (WHATWG HTML standard, section 9.2) from the bytes of a stream.

Lines end with LF or CRLF; ids and retry times are ignored, since model servers do not use them.
"""

from headrace.http1.connection import InvalidResponseError

MAX_EVENT_LEN = 64 * 1024 * 1024
"""Bytes. A longer event is invalid, and would fill the client's memory."""


class EventSplitter:
    """Takes bytes in pieces of any size; returns the data of each complete event."""

    __slots__ = ("_data", "_name", "_pending_len", "_rest", "error_data")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        """Pieces of the current line."""
        self._data: list[bytes] = []
        """Data lines of the current event."""
        self._pending_len = 0
        """Bytes since the last event's end, without those of the read that it came with."""
        self._name = b""
        self.error_data: bytes | None = None
        """Data of the first event named ``error``, which is not returned."""

    def feed(self, body: bytes) -> list[bytes]:
        """Data of the events that these bytes complete.

        Raises InvalidResponseError for an event of more than MAX_EVENT_LEN.
        """
        # Usually one event comes at a time: one line and an empty one.
        if (
            not self._rest
            and not self._data
            and not self._name
            and body.startswith(b"data: ")
            and body.endswith(b"\n\n")
            and body.find(b"\n") == len(body) - 2
            and body[-3:-2] != b"\r"
        ):
            return [body[6:-2]]
        events: list[bytes] = []
        num_new = len(body)
        if b"\n" in body:
            self._rest.append(body)
            lines = b"".join(self._rest).split(b"\n")
            body = lines.pop()
            self._rest = []
            for line in lines:
                self._take_line(line.removesuffix(b"\r"), events)
            if events or not self._data:
                self._pending_len, num_new = 0, len(body)
        if body:
            self._rest.append(body)
        self._pending_len += num_new
        if self._pending_len > MAX_EVENT_LEN:
            raise InvalidResponseError(f"An event of the stream exceeds {MAX_EVENT_LEN:,} bytes.")
        return events

    def finish(self) -> list[bytes]:
        """At the end of the stream; some servers send no empty line after ``[DONE]``."""
        events: list[bytes] = []
        self._take_line(b"".join(self._rest).removesuffix(b"\r"), events)
        self._take_line(b"", events)
        self._rest = []
        return events

    def _take_line(self, line: bytes, events: list[bytes]) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            self._name = line[6:].strip()
        elif not line:
            self._end_event(events)

    def _end_event(self, events: list[bytes]) -> None:
        if self._data:
            data = b"\n".join(self._data)
            if self._name != b"error":
                events.append(data)
            elif self.error_data is None:
                self.error_data = data
        self._data = []
        self._name = b""
