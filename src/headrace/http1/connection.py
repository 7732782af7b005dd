"""One HTTP/1.1 client connection: sends a request, receives the response, and is used again.

httptools does the syntax. This adds what an event loop's protocol has to know: which response a
byte belongs to, where a response ends, and whether the connection may carry another request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, cast

import httptools

LONG_REQUEST_BYTES = 64 * 1024
"""A longer request may be answered before all of it is sent."""
MAX_NUM_HEAD_BYTES = 256 * 1024
"""Of a head, or of trailers, that do not end."""
STALE_AFTER_S = 1.0
"""Servers close idle connections, and a request may be on its way then. If a connection was idle
for this long and is closed without a byte of a response, the server did not process the request."""


class InvalidResponseError(Exception):
    """The response is not HTTP/1.1, or exceeds a limit."""


class ResponseHead:
    """The status line and the headers that frame the body."""

    __slots__ = ("inspected", "reason", "status")

    def __init__(self) -> None:
        self.status = 0
        self.reason = b""
        self.inspected: dict[bytes, bytes] = {}
        """Headers by their names in lower case. Subclasses may store some only, but always
        ``content-length`` and ``transfer-encoding``."""

    def add_header(self, name: bytes, value: bytes) -> None:
        self.inspected[name.lower()] = value

    def complete(self) -> None:
        """All headers have come."""

    @property
    def has_body(self) -> bool:
        return self.status not in (204, 304)

    @property
    def ends_with_connection(self) -> bool:
        """The body has no framing of its own: it ends when the connection is closed."""
        inspected = self.inspected
        return (
            self.has_body
            and b"content-length" not in inspected
            and b"transfer-encoding" not in inspected
        )


HeadT = TypeVar("HeadT", bound=ResponseHead)
HeadT_contra = TypeVar("HeadT_contra", bound=ResponseHead, contravariant=True)


class ResponseListener(Protocol[HeadT_contra]):
    """Gets one response; one call for each read from the socket that brings a part of it."""

    @property
    def is_head_request(self) -> bool:
        """The response has no body, whatever its headers say."""

    def on_response(self, head: HeadT_contra | None, body: list[bytes], is_complete: bool) -> None:
        """``head`` comes with the first call only; ``is_complete`` is true in the last call."""

    def on_response_cut(self, error: Exception | None) -> None:
        """The connection was closed first; the listener decides whether a response without framing
        is complete. ``error``: why; None if the server closed it cleanly (FIN)."""


class HttpConnection(asyncio.Protocol, Generic[HeadT]):
    """Carries one exchange at a time; created by ``loop.create_connection``."""

    __slots__ = (
        "_body",
        "_has_begun",
        "_head",
        "_is_complete",
        "_is_in_head",
        "_is_long_request",
        "_keeps_alive",
        "_listener",
        "_make_head",
        "_new_head",
        "_num_head_bytes",
        "_parser",
        "_release",
        "_transport",
        "clock",
        "idle_since",
        "num_responses",
        "received_at",
        "sent_at",
        "was_chunked",
    )

    def __init__(
        self,
        make_head: Callable[[], HeadT],
        release: Callable[[HttpConnection[HeadT]], None],
        clock: Callable[[], float],
    ) -> None:
        """``release`` is called when the connection may carry another request."""
        self._make_head = make_head
        self._release = release
        self.clock = clock
        self._listener: ResponseListener[HeadT] | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head = make_head()
        self._new_head: HeadT | None = None
        self._body: list[bytes] = []
        self._is_in_head = False
        self._is_complete = False
        self._is_long_request = False
        self._keeps_alive = False
        self._has_begun = False
        """The head of the response was passed on."""
        self._num_head_bytes = 0
        """Received since the request was sent, or since the last part of the body, and not passed
        on: of an incomplete head, or of trailers."""
        self.num_responses = 0
        self.was_chunked = False
        """The last response, as streams are."""
        self.sent_at = 0.0
        """When the last request was written, by the clock."""
        self.received_at = 0.0
        """When the last read from the socket came, by the clock."""
        self.idle_since = 0.0
        """When the last response was complete, by the clock."""

    # for the user

    def send(self, listener: ResponseListener[HeadT], request: bytes) -> None:
        """Send a whole request. Only if the connection `is_usable`."""
        assert self._transport is not None
        self._listener = listener
        self._has_begun = False
        self._num_head_bytes = 0
        self._is_long_request = len(request) > LONG_REQUEST_BYTES
        self._transport.write(request)
        self.sent_at = self.clock()

    def was_stale(self, after_s: float = STALE_AFTER_S) -> bool:
        """Of a connection that was closed before the response was complete: whether the server
        closed it before the request arrived, so that the request can be sent again."""
        if self.num_responses == 0 or self._has_begun or self._num_head_bytes:
            return False
        return self.sent_at - self.idle_since >= after_s

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close it at once, so that the server stops; the listener is not called any more."""
        self._listener = None
        if self._transport is not None:
            self._transport.abort()

    # for the pool

    @property
    def is_usable(self) -> bool:
        """It is open."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        listener = self._listener
        if listener is None:  # a response without a request
            self.abort()
            return
        self.received_at = self.clock()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self._is_complete:
                self._fail(listener, f"The response is not HTTP: {error}.")
                return
            self._keeps_alive = False  # garbage after a complete response
        except httptools.HttpParserUpgrade:
            if not self._is_complete:
                self._fail(listener, "The server switched to another protocol.")
                return
            self._keeps_alive = False
        head, self._new_head = self._new_head, None
        body, self._body = self._body, []
        if self._is_complete:
            self._finish(listener, head, body)
        elif head is not None or body:
            self._num_head_bytes = 0
            listener.on_response(head, body, False)
        else:
            self._num_head_bytes += len(data)
            if self._num_head_bytes > MAX_NUM_HEAD_BYTES:
                self._fail(listener, f"The response's head exceeds {MAX_NUM_HEAD_BYTES} bytes.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        del self._parser  # it refers back to this object
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.on_response_cut(exc)

    # called by httptools

    def on_message_begin(self) -> None:
        self._is_in_head = True
        if self._is_complete:  # a second response to one request: not that of the next one
            self._keeps_alive = False

    def on_status(self, reason: bytes) -> None:
        self._head.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # else it is a trailer, which must not be taken for a header
            self._head.add_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._is_complete:
            return
        head = self._head
        self._head = self._make_head()
        head.status = self._parser.get_status_code()
        self._keeps_alive = self._parser.should_keep_alive()
        self.was_chunked = b"transfer-encoding" in head.inspected
        if head.status < 200:  # 103 and others: not the final response
            return
        head.complete()
        self._new_head = head
        self._has_begun = True
        if self._listener is not None and self._listener.is_head_request:
            self._is_complete = True
            self._keeps_alive = False  # the parser expects a body

    def on_body(self, body: bytes) -> None:
        if not self._is_complete:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._is_complete = True

    # helpers

    def _finish(
        self, listener: ResponseListener[HeadT], head: HeadT | None, body: list[bytes]
    ) -> None:
        self._is_complete = False
        self._listener = None
        self.num_responses += 1
        self.idle_since = self.received_at
        if self._is_long_request and self._has_unsent():
            self.abort()  # the server may or may not read the rest of the request
        elif self._keeps_alive:
            self._release(self)
        else:
            self.close()
        listener.on_response(head, body, True)

    def _fail(self, listener: ResponseListener[HeadT], reason: str) -> None:
        self.abort()
        listener.on_response_cut(InvalidResponseError(reason))

    def _has_unsent(self) -> bool:
        """Part of the request is in the write buffer, and would precede the next request."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0
