"""Writes a replica's response for its client: a new head, and the body's bytes unchanged.

Of an event stream only whole events are forwarded, so that it can end with an error event.
"""

from __future__ import annotations

from headrace.gateway.errors import ErrorResponse
from headrace.gateway.http.http_request import Request
from headrace.gateway.http.local_reply import error_event
from headrace.gateway.http.response_head import ForwardedHead
from headrace.gateway.http.sse_guard import SseGuard
from headrace.gateway.http.usage import MAX_BODY_BYTES, ModelAndUsage, read_body, read_last_event

SERVER_ERROR_STATUS = 500
"""From here on, the replica may be about to exit."""


class ResponseWriter:
    """For one response. It appends to lists of pieces, which the caller joins and sends."""

    __slots__ = ("_body", "_head", "_is_chunked", "guard", "is_last")

    def __init__(
        self,
        head: ForwardedHead,
        request: Request,
        is_draining: bool,
        pieces: list[bytes],
        num_body_bytes: int | None = None,
    ) -> None:
        """Writes the head. ``num_body_bytes``: of the body, if it is complete already."""
        self._head = head
        self.guard: SseGuard | None = None
        """Of an event stream."""
        self._body: bytes | bytearray = b""
        """What came of it, if it is not an event stream, up to `MAX_BODY_BYTES` and one piece."""
        self._is_chunked = False
        self.is_last = request.is_last or is_draining
        """The connection is closed after this response."""
        pieces.append(b"HTTP/1.1 %d %b" % (head.status, head.reason))
        pieces += head.lines
        pieces.append(request.response_headers)
        if b"content-length" not in head.inspected and head.has_body:
            self._frame_body(request, pieces, num_body_bytes)
        if self.is_last:
            pieces.append(b"\r\nconnection: close")
        elif not request.accepts_chunked:
            pieces.append(b"\r\nconnection: keep-alive")
        pieces.append(b"\r\n\r\n")

    @property
    def status(self) -> int:
        return self._head.status

    @property
    def is_server_error(self) -> bool:
        """By its status, or by the event that its stream ended with."""
        is_error = self._head.status >= SERVER_ERROR_STATUS
        return is_error or (self.guard is not None and self.guard.ended_in_error)

    def add(self, data: bytes, pieces: list[bytes]) -> None:
        """Write more of the body."""
        if self.guard is not None:
            data = self.guard.feed(data)
        elif not self._body:
            self._body = data
        elif len(self._body) <= MAX_BODY_BYTES:
            self._body = bytearray(self._body) if type(self._body) is bytes else self._body
            self._body += data
        if data:
            self._write_chunk(data, pieces)

    def read_usage(self) -> ModelAndUsage:
        """Of a complete response."""
        if self.guard is not None:
            return read_last_event(self.guard.last_parts)
        return read_body(self._body)

    def finish(self, pieces: list[bytes]) -> None:
        """The response is complete."""
        if self.guard is not None and (rest := self.guard.rest()):
            self._write_chunk(rest, pieces)
        if self._is_chunked:
            pieces.append(b"0\r\n\r\n")

    def cut(self, error: ErrorResponse, pieces: list[bytes]) -> None:
        """The response will not be complete: write an error event if it is an event stream, and
        leave the body unterminated."""
        if self.guard is not None and not self.guard.is_off:
            event = error_event(error, is_named=self.guard.names_events)
            self._write_chunk(event, pieces)

    @property
    def looks_complete_when_closed(self) -> bool:
        """The client, which uses HTTP/1.0, sees the end of the body only by the end of the
        connection, and there is no error event."""
        return (
            self.is_last
            and not self._is_chunked
            and self._head.has_body
            and b"content-length" not in self._head.inspected
            and (self.guard is None or self.guard.is_off)
        )

    @property
    def ends_with_connection(self) -> bool:
        """Whether the response is complete when the replica closes the connection cleanly."""
        if not self._head.ends_with_connection:
            return False
        # A stream may have been cut all the same; its last event says that it was not.
        return self.guard is None or self.guard.is_done

    def _frame_body(
        self, request: Request, pieces: list[bytes], num_body_bytes: int | None
    ) -> None:
        if request.accepts_chunked:
            pieces.append(b"\r\ntransfer-encoding: chunked")
            self._is_chunked = not request.is_head
        elif num_body_bytes is not None and not request.is_head:
            pieces.append(b"\r\ncontent-length: %d" % num_body_bytes)
        else:
            self.is_last = True
        if self._head.is_event_stream:
            self.guard = SseGuard()

    def _write_chunk(self, data: bytes, pieces: list[bytes]) -> None:
        if self._is_chunked:
            pieces += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            pieces.append(data)
