"""Server-sent events out of the bytes of a stream.

Follows the format of the WHATWG's HTML standard, section 9.2, as far as servers of models use it:
lines end with LF or CRLF; ids and retry times are passed over. Knows nothing of what events say.
"""

from headrace.bench.http.connection import BadAnswerError

MAX_EVENT_LEN = 64 * 1024 * 1024
"""Bytes. A longer event is no piece of an answer, and would fill the client's memory."""


class EventSplitter:
    """Takes bytes as they come, cut anywhere; gives the data of each event that is whole."""

    __slots__ = ("_data", "_name", "_pending_len", "_rest", "error_data")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        """Pieces of a line whose end has not come."""
        self._data: list[bytes] = []
        """Lines of the event whose end has not come."""
        self._pending_len = 0
        """Bytes since the last event's end, but for those that came in one read with it."""
        self._name = b""
        self.error_data: bytes | None = None
        """Data of the first event that is named ``error``; it is in no list."""

    def feed(self, body: bytes) -> list[bytes]:
        """Data of the events that are whole with these bytes.

        Raises BadAnswerError for an event of more than MAX_EVENT_LEN.
        """
        # Nearly always one event comes at a time: one line and an empty one.
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
            raise BadAnswerError(f"An event of the stream is longer than {MAX_EVENT_LEN:,} bytes.")
        return events

    def finish(self) -> list[bytes]:
        """What an end without an empty line leaves, as some servers end so after ``[DONE]``."""
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
