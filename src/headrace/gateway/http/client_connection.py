"""One client's connection: reads requests, refuses what is wrong, and has the others answered.

Answers go out in the order of their requests. A request's body is read whole, up to its service's
limit, since it may have to be sent twice. Knows nothing of replicas.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol, cast

import httptools

from headrace.gateway.exchange import Exchange
from headrace.gateway.http import http_refusals
from headrace.gateway.http.http_request import Request
from headrace.gateway.http.repeated_head import RepeatedHead
from headrace.gateway.routing.choice import Refused, ServiceMatch

MAX_NUM_HEAD_BYTES = 64 * 1024
MAX_SPARED_BYTES = 64 * 1024
"""A refused request's body, if it is not longer, is read to its end, and the connection goes on."""
MAX_NUM_MISSES = 8
"""After so many requests whose heads differed, heads are not compared any more."""
MAX_READ_S = 60.0
"""Between two pieces of a request."""
MAX_IDLE_S = 90.0
"""Longer than clients keep idle connections in their pools, so that they close them first."""
MAX_LINGER_S = 5.0
"""How long a client that was refused may go on sending before the connection is cut."""
DRAIN_IDLE_S = 1.0
"""While draining, a connection that has been idle for so long is closed. Sooner, a request may
just be under way."""


class Gateway(Protocol):
    """What all connections of one gateway share."""

    @property
    def is_draining(self) -> bool: ...

    @property
    def table_generation(self) -> int:
        """Another number whenever `match` may answer otherwise than before."""

    def match(self, request: Request) -> ServiceMatch | Refused:
        """The service that a request is for, if it may use it."""

    def start_exchange(
        self,
        connection: ClientConnection,
        match: ServiceMatch,
        request: Request,
        body: bytes,
        now: float,
    ) -> Exchange:
        """Have it answered, as soon as the exchange is started."""

    def opened(self, connection: ClientConnection) -> None: ...

    def closed(self, connection: ClientConnection) -> None: ...


class Queued:
    """A request that is there in full, behind others that are not answered yet."""

    __slots__ = ("arrived_at", "body", "match", "request")

    def __init__(
        self, request: Request, body: bytes, match: ServiceMatch | Refused, arrived_at: float
    ) -> None:
        self.request = request
        self.body = body
        self.match = match
        self.arrived_at = arrived_at


class ClientConnection(asyncio.Protocol):
    __slots__ = (
        "_body",
        "_exchange",
        "_gateway",
        "_heard_at",
        "_is_deaf",
        "_is_in_head",
        "_is_reading",
        "_is_starting",
        "_match",
        "_matched_in",
        "_num_body_bytes",
        "_num_head_bytes",
        "_num_misses",
        "_parser",
        "_queue",
        "_repeated",
        "_request",
        "_transport",
        "client",
        "is_paused",
    )

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self.client = b""
        """Its address."""
        self._request = Request()
        self._match: ServiceMatch | Refused = http_refusals.not_http()
        """For the request that is being read."""
        self._matched_in = 0
        """The route table's generation that ``_match`` was found in."""
        self._body: list[bytes] = []
        self._repeated: RepeatedHead | None = None
        """Of ``_request``, whose ``_match`` is a service then."""
        self._num_misses = 0
        self._num_head_bytes = 0
        self._num_body_bytes = 0
        self._is_reading = False
        """Part of a request has come."""
        self._is_in_head = False
        self._is_deaf = False
        """What comes is thrown away: the connection ends as soon as its client lets it."""
        self._exchange: Exchange | None = None
        self._queue: deque[Queued] = deque()
        """Pipelined requests, which wait until those before are answered."""
        self._is_starting = False
        self._heard_at = 0.0
        """When it last was more than idle."""
        self.is_paused = False

    # for the gateway

    def check_time(self, now: float) -> None:
        """Close it if nothing has happened for too long."""
        silent_s = now - self._heard_at
        if self._exchange is not None:
            return  # which has limits of its own
        if self._is_deaf:
            if silent_s > MAX_LINGER_S:
                self.abort()
        elif self._is_reading:
            if silent_s > MAX_READ_S:
                self._refuse_and_close(http_refusals.request_too_slow())
        elif silent_s > (DRAIN_IDLE_S if self._gateway.is_draining else MAX_IDLE_S):
            self._close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # for the exchange

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def answered(self, is_last: bool) -> None:
        self._exchange = None
        self._heard_at = time.monotonic()
        if is_last:
            self._queue.clear()
            self._close()
        elif self._queue and not self._is_starting:
            self._start_next()

    def cut(self) -> None:
        self._exchange = None
        self._queue.clear()
        self._close()

    # from asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.client = peer[0].encode() if peer else b"unknown"
        self._heard_at = time.monotonic()
        self._gateway.opened(self)

    def data_received(self, data: bytes) -> None:
        now = self._heard_at = time.monotonic()
        is_idle = self._exchange is None and not self._is_reading
        if is_idle and self._repeated is not None and self._start_repeated(data, now):
            return
        if self._is_deaf:
            return
        self._repeated = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            if not self._is_deaf:
                self._refuse_and_close(http_refusals.not_http())
            return
        if self._is_in_head:
            self._num_head_bytes += len(data)
            if self._num_head_bytes > MAX_NUM_HEAD_BYTES:
                self._refuse_and_close(http_refusals.head_too_large(MAX_NUM_HEAD_BYTES))
        elif is_idle and self._num_misses < MAX_NUM_MISSES:
            self._remember_head(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        del self._parser  # they hold each other
        self._queue.clear()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()
        self._gateway.closed(self)

    def pause_writing(self) -> None:
        self.is_paused = True
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        self.is_paused = False
        if self._exchange is not None:
            self._exchange.resume()

    # from httptools

    def on_message_begin(self) -> None:
        self._request = Request()
        self._body = []
        self._is_reading = True
        self._is_in_head = True
        self._num_head_bytes = 0
        self._num_body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.add_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._is_deaf:
            return
        request = self._request
        parser = self._parser
        request.method = parser.get_method()
        request.is_last = not parser.should_keep_alive()
        if request.has_connection_header:
            request.can_chunk = parser.get_http_version() != "1.0"
        else:  # whose default tells the versions apart
            request.can_chunk = not request.is_last
        if parser.should_upgrade():
            if request.wants_websocket or request.method == b"CONNECT":
                self._refuse_and_close(http_refusals.no_websockets())
            return  # see _decline_upgrade
        self._matched_in = self._gateway.table_generation
        match = self._match = self._gateway.match(request)
        if type(match) is ServiceMatch:
            length = request.content_length
            if length is not None and length > match.service.limits.max_body_bytes:
                match = self._refuse_body(match)
        if request.expects_continue or type(match) is Refused:
            self._answer_before_body(match)

    def on_body(self, body: bytes) -> None:
        match = self._match
        if type(match) is not ServiceMatch:
            return  # refused: nobody wants it
        self._num_body_bytes += len(body)
        if self._num_body_bytes > match.service.limits.max_body_bytes:
            self._answer_before_body(self._refuse_body(match))
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._is_deaf:
            return
        if self._parser.should_upgrade():
            return  # see _decline_upgrade
        self._is_reading = False
        if self._request.is_last:
            self._is_deaf = True
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._exchange is None and not self._queue:
            self._start(self._request, body, self._match, self._heard_at)
            return
        self._queue.append(Queued(self._request, body, self._match, self._heard_at))
        if self._transport is not None:
            self._transport.pause_reading()  # one who sends ahead has time

    # helpers

    def _start_repeated(self, data: bytes, now: float) -> bool:
        """Start the request without parsing it, if all but its body is as it was before."""
        assert self._repeated is not None
        match = self._match
        if self._matched_in != self._gateway.table_generation or type(match) is not ServiceMatch:
            return False
        body = self._repeated.body_in(data)
        if body is None or len(body) > match.service.limits.max_body_bytes:
            self._num_misses += 1
            return False
        self._num_misses = 0
        self._start(self._request, body, match, now)
        return True

    def _remember_head(self, data: bytes) -> None:
        """For the next request, if this was one plain request and there may be a next one."""
        if type(self._match) is ServiceMatch and not (self._is_reading or self._is_deaf):
            self._repeated = RepeatedHead.of(data, self._num_body_bytes)

    def _start(
        self, request: Request, body: bytes, match: ServiceMatch | Refused, arrived_at: float
    ) -> None:
        if type(match) is ServiceMatch:
            exchange = self._gateway.start_exchange(self, match, request, body, arrived_at)
            self._exchange = exchange
            exchange.start()
            return
        assert isinstance(match, Refused)
        is_last = request.is_last or self._gateway.is_draining
        without_body = request.method == b"HEAD"
        self.write(http_refusals.answer_bytes(match, is_last=is_last, without_body=without_body))
        if is_last:
            self._close()

    def _start_next(self) -> None:
        # An answer may be there at once, and then it must not start the next one in turn.
        self._is_starting = True
        while self._queue and self._exchange is None and self._transport is not None:
            queued = self._queue.popleft()
            self._start(queued.request, queued.body, queued.match, queued.arrived_at)
        self._is_starting = False
        if not self._queue and self._transport is not None:
            self._transport.resume_reading()

    def _refuse_body(self, match: ServiceMatch) -> Refused:
        refused = http_refusals.body_too_large(match.service.limits.max_body_bytes)
        self._match = refused
        self._body.clear()
        return refused

    def _answer_before_body(self, match: ServiceMatch | Refused) -> None:
        """Spare the client the body that is refused, or tell it to go on. While another answer
        is due first, neither can be said, and the body just comes."""
        if self._exchange is not None or self._queue:
            return
        if type(match) is Refused:
            if self._request.expects_continue or self._request.is_long(MAX_SPARED_BYTES):
                self._refuse_and_close(match)
        else:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse_and_close(self, refused: Refused) -> None:
        """Say so, and let the client read it: closing while it sends would reset the connection."""
        self._is_deaf = True
        self._is_reading = False
        self._is_in_head = False
        if self._exchange is not None or self._queue:  # whose answers come first
            self._request.is_last = True
            self._queue.append(Queued(self._request, b"", refused, self._heard_at))
            return
        self.write(http_refusals.answer_bytes(refused, is_last=True))
        if self._transport is not None:
            self._transport.write_eof()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Go on in HTTP/1.1, which tells the client that its offer (of HTTP/2, mostly) was not
        taken. The parser thought that the request ended with its head, so it reads it again."""
        self._parser = httptools.HttpRequestParser(self)
        if not self._is_deaf:
            self.data_received(self._request.without_upgrade() + rest)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
