"""Parses the requests of one client connection as their bytes arrive.

httptools does the syntax; `head_rules` rejects what two servers might interpret differently. A body
is collected whole, up to the limit that the receiver sets when it has seen the head.
"""

from __future__ import annotations

from typing import Protocol

import httptools

from headrace.gateway import errors
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.http import head_rules
from headrace.gateway.http.http_request import Request

MAX_NUM_HEAD_BYTES = 64 * 1024
"""Of a head, or of trailers, that do not end."""
MAX_NUM_PIECES = 64
"""Of a body that are stored as they came; one object each for a few bytes would waste memory."""


class RequestReceiver(Protocol):
    """Gets what was parsed."""

    def on_head(self, request: Request) -> int | None:
        """Returns the limit of the body in bytes; None: discard the body."""

    def on_body_too_large(self) -> None:
        """The body exceeds that limit; the rest of it is discarded."""

    def on_request(self, request: Request, body: bytes) -> None:
        """The request is complete; ``body`` is empty if it was discarded."""

    def on_invalid(self, error: ErrorResponse) -> None:
        """The connection carries no valid request any more. Calls `RequestParser.stop`."""


class RequestParser:
    """For one connection. ``close`` breaks its reference cycles."""

    __slots__ = (
        "_body",
        "_max_num_body_bytes",
        "_now",
        "_num_head_bytes",
        "_parser",
        "_receiver",
        "began_at",
        "is_in_head",
        "is_reading",
        "is_stopped",
        "num_body_bytes",
        "request",
    )

    def __init__(self, receiver: RequestReceiver) -> None:
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)
        self._now = 0.0
        self._num_head_bytes = 0
        self._max_num_body_bytes: int | None = None
        self._body: list[bytes | bytearray] = []
        self.request = Request()
        """The one that is being read, or was read last."""
        self.num_body_bytes = 0
        """Of that request, so far."""
        self.began_at = 0.0
        """When its first byte came."""
        self.is_reading = False
        """Part of a request has come."""
        self.is_in_head = False
        self.is_stopped = False
        """There will be no more requests: what comes is discarded."""

    def feed(self, data: bytes, now: float) -> None:
        """``now`` is the time at which these bytes came."""
        self._now = now
        was_reading = self.is_reading
        request, num_body_bytes = self.request, self.num_body_bytes
        try:
            self._parse(data)
        except httptools.HttpParserCallbackError:
            raise  # a bug of the gateway: the event loop logs it and closes the connection
        except httptools.HttpParserError:
            if not self.is_stopped:
                self._receiver.on_invalid(errors.invalid_http())
            return
        if self.is_stopped or not self.is_reading:
            return
        if self.request is request:
            is_no_body = self.is_in_head or self.num_body_bytes == num_body_bytes
        else:  # where its head began is unknown, unless the head is all that came
            is_no_body = self.is_in_head and not was_reading and b"\r\n\r\n" not in data
        if is_no_body:
            self._count_head(len(data))

    def stop(self) -> None:
        """Discard what comes from now on."""
        self.is_stopped = True
        self.is_reading = False
        self.is_in_head = False

    def close(self) -> None:
        del self._parser, self._receiver

    # called by httptools

    def on_message_begin(self) -> None:
        self.request = Request()
        self._body = []
        self._max_num_body_bytes = None
        self._num_head_bytes = 0
        self.num_body_bytes = 0
        self.began_at = self._now
        self.is_reading = True
        self.is_in_head = True

    def on_url(self, url: bytes) -> None:
        self.request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_in_head:  # else it is a trailer, which must not be taken for a header
            self.request.add_header(name, value)

    def on_headers_complete(self) -> None:
        self.is_in_head = False
        if self.is_stopped:
            return
        request = self.request
        parser = self._parser
        request.method = parser.get_method()
        request.is_last = not parser.should_keep_alive()
        version = "1.1"
        if request.is_last or request.has_connection_header:  # else 1.1, by its default
            version = parser.get_http_version()
        request.accepts_chunked = version != "1.0"
        if parser.should_upgrade():
            if request.wants_websocket or request.method == b"CONNECT":
                self._receiver.on_invalid(errors.unsupported_upgrade())
            return  # see _parse
        error = head_rules.check_head(request, version)
        if error is not None:
            self._receiver.on_invalid(error)
            return
        self._max_num_body_bytes = self._receiver.on_head(request)

    def on_body(self, body: bytes) -> None:
        self.num_body_bytes += len(body)
        limit = self._max_num_body_bytes
        if limit is None:
            return
        if self.num_body_bytes > limit:
            self._max_num_body_bytes = None
            self._body.clear()
            self._receiver.on_body_too_large()
            return
        pieces = self._body
        if len(pieces) < MAX_NUM_PIECES:
            pieces.append(body)
        elif len(pieces) == MAX_NUM_PIECES:
            pieces.append(bytearray(body))
        else:
            pieces[-1] += body

    def on_message_complete(self) -> None:
        if self.is_stopped or self._parser.should_upgrade():  # the latter: see _parse
            return
        self.is_reading = False
        if self.request.is_last:
            self.is_stopped = True
        body = bytes(self._body[0]) if len(self._body) == 1 else b"".join(self._body)
        self._receiver.on_request(self.request, body)

    # helpers

    def _parse(self, data: bytes) -> None:
        """A request that offers another protocol (mostly HTTP/2) is parsed again without the
        offer; a response in HTTP/1.1 tells the client that the offer is declined."""
        pieces: list[bytes | memoryview] = [data]
        while pieces:
            piece = pieces.pop()
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                if self.is_stopped:
                    return
                # httptools considers the request complete with its head.
                self._parser = httptools.HttpRequestParser(self)
                pieces += (memoryview(piece)[upgrade.args[0] :], self.request.without_upgrade())

    def _count_head(self, num_bytes: int) -> None:
        """This many more bytes came that are not part of a body."""
        self._num_head_bytes += num_bytes
        if self._num_head_bytes > MAX_NUM_HEAD_BYTES:
            self._receiver.on_invalid(errors.head_too_large(MAX_NUM_HEAD_BYTES))
