"""One connection to a replica: sends a request, reads the answer, and is used again.

Knows the exchange that it works for as somebody who wants to hear of an answer; nothing of
clients, of retries or of routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools

_IS_FORWARDED: dict[bytes, bool] = {
    b"connection": False,
    b"keep-alive": False,
    b"proxy-connection": False,
    b"te": False,
    b"trailer": False,
    b"transfer-encoding": False,
    b"upgrade": False,
    b"content-length": True,
    b"content-type": True,
    b"content-encoding": True,
    b"location": False,  # see `AnswerHead.rewrite_locations`
    b"content-location": False,
    b"access-control-allow-credentials": False,  # the gateway answers for CORS
    b"access-control-allow-headers": False,
    b"access-control-allow-methods": False,
    b"access-control-allow-origin": False,
    b"access-control-allow-private-network": False,
    b"access-control-expose-headers": False,
    b"access-control-max-age": False,
}
"""The headers that are looked at, and whether the client gets them as they came."""

_LOCATIONS = (b"location", b"content-location")
MAX_JOINED_BYTES = 16 * 1024
"""Of several headers of one name that are looked at, joined as one; the rest is left out."""

LONG_REQUEST_BYTES = 64 * 1024
"""A longer one may be answered before all of it is sent."""
MAX_NUM_HEAD_BYTES = 256 * 1024
"""Of a head, or of trailers, that do not end."""


class AnswerHead:
    """An answer's status line and headers."""

    __slots__ = ("lines", "noted", "reason", "status")

    def __init__(self) -> None:
        self.status = 0
        self.reason = b""
        self.lines: list[bytes] = []
        """Headers that the client gets, four pieces each: line end, name, colon, value."""
        self.noted: dict[bytes, bytes] = {}

    @property
    def is_event_stream(self) -> bool:
        return (
            self.noted.get(b"content-type", b"").lower().startswith(b"text/event-stream")
            and b"content-encoding" not in self.noted
        )

    @property
    def has_body(self) -> bool:
        return self.status not in (204, 304)

    @property
    def ends_with_connection(self) -> bool:
        """Nothing else tells where the body ends."""
        noted = self.noted
        return (
            self.has_body and b"content-length" not in noted and b"transfer-encoding" not in noted
        )

    def rewrite_locations(self, rewrite: Callable[[bytes], bytes]) -> None:
        """The client gets these URLs as ``rewrite`` has them."""
        for name in _LOCATIONS:
            if name in self.noted:
                self.lines += (b"\r\n", name, b": ", rewrite(self.noted[name]))

    def drop_named_by_connection(self) -> None:
        """Headers that its ``Connection`` header says are for one connection only. Those that
        tell what the body is stay, since the client could not read it without them."""
        names = {name.strip().lower() for name in self.noted[b"connection"].split(b",")}
        names -= _IS_FORWARDED.keys()
        lines = self.lines
        self.lines = [
            piece
            for index in range(0, len(lines), 4)
            if lines[index + 1].lower() not in names
            for piece in lines[index : index + 4]
        ]


class AnswerListener(Protocol):
    """Who the connection works for. Each call is one piece that came from the network."""

    @property
    def is_head_request(self) -> bool: ...

    def answer_came(self, head: AnswerHead | None, body: list[bytes], is_whole: bool) -> None:
        """``head`` with the first piece only; ``is_whole`` with the last."""

    def answer_cut(self, is_clean_end: bool) -> None:
        """The connection ended first. ``is_clean_end``: by a FIN, not by an error."""


class UpstreamConnection(asyncio.Protocol):
    __slots__ = (
        "_body",
        "_head",
        "_is_in_head",
        "_is_long_request",
        "_is_whole",
        "_keep",
        "_keeps_alive",
        "_listener",
        "_new_head",
        "_parser",
        "_transport",
        "idle_since",
        "num_answers",
        "num_head_bytes",
        "was_chunked",
    )

    def __init__(self, keep: Callable[[UpstreamConnection], None]) -> None:
        self._keep = keep
        """Called when it may be used again."""
        self._listener: AnswerListener | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head = AnswerHead()
        self._new_head: AnswerHead | None = None
        self._body: list[bytes] = []
        self._is_in_head = False
        self._is_whole = False
        self._is_long_request = False
        self._keeps_alive = False
        self.num_answers = 0
        self.was_chunked = False
        """The answer that came last, which is how streams come."""
        self.num_head_bytes = 0
        """What has come since the request, or since the last piece of its answer's body, and was
        nothing to pass on: of a head that is not whole yet, or of trailers."""
        self.idle_since = 0.0
        """Monotonic; meaningful while the owner keeps it."""

    # for the exchange

    def send(self, listener: AnswerListener, request: bytes) -> None:
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
            if not self._is_whole:
                self._cut(listener)
                return
            self._keeps_alive = False  # nonsense behind a whole answer is nobody's
        head, self._new_head = self._new_head, None
        body, self._body = self._body, []
        if self._is_whole:
            self._answered(listener, head, body)
        elif head is not None or body:
            self.num_head_bytes = 0
            listener.answer_came(head, body, False)
        else:
            self.num_head_bytes += len(data)
            if self.num_head_bytes > MAX_NUM_HEAD_BYTES:
                self._cut(listener)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        del self._parser  # they hold each other
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.answer_cut(is_clean_end=exc is None)

    # from httptools

    def on_message_begin(self) -> None:
        self._is_in_head = True
        if self._is_whole:  # a second answer to one request: never mistake it for the next one's
            self._keeps_alive = False

    def on_status(self, reason: bytes) -> None:
        self._head.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            return  # a trailer, which is no header of this answer and none of the next
        head = self._head
        lower = name.lower()
        is_forwarded = _IS_FORWARDED.get(lower)
        if is_forwarded is not None:
            noted = head.noted
            if lower not in noted:
                noted[lower] = value
            elif len(noted[lower]) <= MAX_JOINED_BYTES:
                noted[lower] += b", " + value
            if not is_forwarded:
                return
        head.lines += (b"\r\n", name, b": ", value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._is_whole:
            return
        head = self._head
        self._head = AnswerHead()
        head.status = self._parser.get_status_code()
        self._keeps_alive = self._parser.should_keep_alive()
        self.was_chunked = b"transfer-encoding" in head.noted
        if head.status < 200:  # 103 and the like: not the answer yet
            return
        if b"connection" in head.noted:
            head.drop_named_by_connection()
        self._new_head = head
        if self._listener is not None and self._listener.is_head_request:
            self._is_whole = True
            self._keeps_alive = False  # the parser waits for a body that does not come

    def on_body(self, body: bytes) -> None:
        if not self._is_whole:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._is_whole = True

    # helpers

    def _answered(
        self, listener: AnswerListener, head: AnswerHead | None, body: list[bytes]
    ) -> None:
        self._is_whole = False
        self._listener = None
        self.num_answers += 1
        if self._is_long_request and self._has_unsent():
            self.abort()  # its replica does not want the rest; who knows whether it would read it
        elif self._keeps_alive:
            self._keep(self)
        else:
            self.close()
        listener.answer_came(head, body, True)

    def _cut(self, listener: AnswerListener) -> None:
        self.abort()
        listener.answer_cut(is_clean_end=False)

    def _has_unsent(self) -> bool:
        """Part of the request still waits here, and would run into the next one."""
        return self._transport is not None and self._transport.get_write_buffer_size() > 0
