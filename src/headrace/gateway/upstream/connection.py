"""One connection to a replica: sends a request, reads the answer, and is used again.

Knows the exchange that it works for as somebody who wants to hear of an answer; nothing of
clients, of retries or of routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools

from headrace.gateway.http.response_head import ResponseHead

LONG_REQUEST_BYTES = 64 * 1024
"""A longer one may be answered before all of it is sent."""
MAX_NUM_HEAD_BYTES = 256 * 1024
"""Of a head, or of trailers, that do not end."""


class ResponseListener(Protocol):
    """Who the connection works for. Each call is one piece that came from the network."""

    @property
    def is_head_request(self) -> bool: ...

    def on_response(self, head: ResponseHead | None, body: list[bytes], is_complete: bool) -> None:
        """``head`` with the first piece only; ``is_complete`` with the last."""

    def on_response_cut(self, is_clean_end: bool) -> None:
        """The connection ended first. ``is_clean_end``: by a FIN, not by an error."""


class UpstreamConnection(asyncio.Protocol):
    __slots__ = (
        "_body",
        "_head",
        "_is_complete",
        "_is_in_head",
        "_is_long_request",
        "_keeps_alive",
        "_listener",
        "_new_head",
        "_parser",
        "_release",
        "_transport",
        "idle_since",
        "num_head_bytes",
        "num_responses",
        "was_chunked",
    )

    def __init__(self, keep: Callable[[UpstreamConnection], None]) -> None:
        self._release = keep
        """Called when it may be used again."""
        self._listener: ResponseListener | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head = ResponseHead()
        self._new_head: ResponseHead | None = None
        self._body: list[bytes] = []
        self._is_in_head = False
        self._is_complete = False
        self._is_long_request = False
        self._keeps_alive = False
        self.num_responses = 0
        self.was_chunked = False
        """The answer that came last, which is how streams come."""
        self.num_head_bytes = 0
        """What has come since the request, or since the last piece of its answer's body, and was
        nothing to pass on: of a head that is not whole yet, or of trailers."""
        self.idle_since = 0.0
        """Monotonic; meaningful while the owner keeps it."""

    # for the exchange

    def send(self, listener: ResponseListener, request: bytes) -> None:
        assert self._transport is not None
        self._listener = listener
        self.num_head_bytes = 0
        self._is_long_request = len(request) > LONG_REQUEST_BYTES
        self._transport.write(request)

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """End it at once, so that the replica stops working; nobody is told."""
        self._listener = None
        if self._transport is not None:
            self._transport.abort()

    # for the owner

    @property
    def is_usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # from asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        listener = self._listener
        if listener is None:  # an answer that nobody asked for
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._is_complete:
                self._cut(listener)
                return
            self._keeps_alive = False  # nonsense behind a whole answer is nobody's
        head, self._new_head = self._new_head, None
        body, self._body = self._body, []
        if self._is_complete:
            self._complete_response(listener, head, body)
        elif head is not None or body:
            self.num_head_bytes = 0
            listener.on_response(head, body, False)
        else:
            self.num_head_bytes += len(data)
            if self.num_head_bytes > MAX_NUM_HEAD_BYTES:
                self._cut(listener)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        del self._parser  # they hold each other
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.on_response_cut(is_clean_end=exc is None)

    # from httptools

    def on_message_begin(self) -> None:
        self._is_in_head = True
        if self._is_complete:  # a second answer to one request: never mistake it for the next one's
            self._keeps_alive = False

    def on_status(self, reason: bytes) -> None:
        self._head.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            return  # a trailer, which is no header of this answer and none of the next
        self._head.add_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._is_complete:
            return
        head = self._head
        self._head = ResponseHead()
        head.status = self._parser.get_status_code()
        self._keeps_alive = self._parser.should_keep_alive()
        self.was_chunked = b"transfer-encoding" in head.inspected
        if head.status < 200:  # 103 and the like: not the answer yet
            return
        if b"connection" in head.inspected:
            head.drop_named_by_connection()
        self._new_head = head
        if self._listener is not None and self._listener.is_head_request:
            self._is_complete = True
            self._keeps_alive = False  # the parser waits for a body that does not come

    def on_body(self, body: bytes) -> None:
        if not self._is_complete:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._is_complete = True

    # helpers

    def _complete_response(
        self, listener: ResponseListener, head: ResponseHead | None, body: list[bytes]
    ) -> None:
        self._is_complete = False
        self._listener = None
        self.num_responses += 1
        if self._is_long_request and self._has_unsent():
            self.abort()  # its replica does not want the rest; who knows whether it would read it
        elif self._keeps_alive:
            self._release(self)
        else:
            self.close()
        listener.on_response(head, body, True)

    def _cut(self, listener: ResponseListener) -> None:
        self.abort()
        listener.on_response_cut(is_clean_end=False)

    def _has_unsent(self) -> bool:
        """Part of the request still waits here, and would run into the next one."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0
