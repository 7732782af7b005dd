"""One client's connection: reads requests, refuses what is wrong, and has the others answered.

Answers go out in the order of their requests. A request's body is read whole, up to its service's
limit, since it may have to be sent twice. Knows nothing of replicas.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from typing import cast

import httptools

from headrace.gateway.http import head_rules, local_reply
from headrace.gateway.http.client_limits import (
    DRAIN_IDLE_S,
    MAX_IDLE_S,
    MAX_LINGER_S,
    MAX_NUM_HEAD_BYTES,
    MAX_NUM_MISSES,
    MAX_NUM_PIECES,
    MAX_READ_S,
    MAX_SENDING_S,
    MAX_SPARED_BYTES,
    MAX_WRITE_S,
)
from headrace.gateway.http.gateway import Gateway
from headrace.gateway.http.http_request import Request, Sender
from headrace.gateway.http.local_reply import OwnAnswer
from headrace.gateway.http.queued import Queued
from headrace.gateway.http.repeated_head import RepeatedHead
from headrace.gateway.proxied_request import Exchange
from headrace.gateway.routing.decisions import Refused, ServiceMatch
from headrace.listen.origins import is_loopback

_RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time."""
_UNKNOWN = Sender(b"unknown")
_NOT_HTTP = local_reply.not_http()


class ClientConnection(asyncio.Protocol):
    __slots__ = (
        "__weakref__",
        "_began_at",
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
        "_num_unsent",
        "_parser",
        "_queue",
        "_repeated",
        "_request",
        "_transport",
        "is_paused",
        "sender",
    )

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpRequestParser
        self.sender = _UNKNOWN
        self._request = Request()
        self._match: ServiceMatch | OwnAnswer = _NOT_HTTP
        """For the request that is being read."""
        self._matched_in = 0
        """The route table's generation that ``_match`` was found in."""
        self._body: list[bytes | bytearray] = []
        self._repeated: RepeatedHead | None = None
        """Of ``_request``, whose ``_match`` is a service then."""
        self._num_misses = 0
        self._num_head_bytes = 0
        self._num_body_bytes = 0
        self._num_unsent = 0
        """Bytes of answers that waited for the client when it was last looked."""
        self._began_at = 0.0
        """When the request that is being read began to come, or sending it began to be in vain."""
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
        if self._exchange is not None or self._transport is None:
            return  # an exchange has limits of its own
        num_unsent = self._transport.get_write_buffer_size()
        if num_unsent != self._num_unsent:
            self._num_unsent = num_unsent
            self._heard_at = now  # by taking something
        silent_s = now - self._heard_at
        if num_unsent:
            if silent_s > MAX_WRITE_S:
                self.abort()
        elif self._is_deaf:
            if silent_s > MAX_LINGER_S or now - self._began_at > MAX_SENDING_S:
                self.abort()
        elif self._is_reading:
            if silent_s > MAX_READ_S or now - self._began_at > self._max_reading_s():
                self._refuse_and_close(local_reply.request_too_slow())
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
        self._heard_at = self._began_at = time.monotonic()
        if is_last:
            self._queue.clear()
            self._close()
        elif self._queue and not self._is_starting:
            self._start_next()

    def cut(self, by_reset: bool) -> None:
        self._exchange = None
        self._queue.clear()
        if by_reset and self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_WHEN_CLOSED)
            if self.sender.scheme == b"https":
                self._transport.abort()  # TLS would say that this is the end
                return
        self._close()

    # from asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self.sender = _sender(transport)
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
        request, num_body_bytes = self._request, self._num_body_bytes
        try:
            self._parse(data)
        except httptools.HttpParserCallbackError:
            raise  # our own fault, not the client's: the loop logs it and ends the connection
        except httptools.HttpParserError:
            if not self._is_deaf:
                self._refuse_and_close(local_reply.not_http())
            return
        if self._is_reading:
            if self._request is request:
                is_no_body = self._is_in_head or self._num_body_bytes == num_body_bytes
            else:  # where it began is not known, unless it is all that came
                is_no_body = self._is_in_head and is_idle and b"\r\n\r\n" not in data
            if is_no_body:
                self._count_head(len(data))
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
        elif self._queue and not self._is_starting:
            self._start_next()

    # from httptools

    def on_message_begin(self) -> None:
        self._request = Request()
        self._body = []
        self._began_at = self._heard_at
        self._is_reading = True
        self._is_in_head = True
        self._num_head_bytes = 0
        self._num_body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # else it is a trailer, which may not pass for a header
            self._request.add_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if self._is_deaf:
            return
        request = self._request
        parser = self._parser
        request.method = parser.get_method()
        request.is_last = not parser.should_keep_alive()
        version = "1.1"
        if request.is_last or request.has_connection_header:  # else it is, by its default
            version = parser.get_http_version()
        request.can_chunk = version != "1.0"
        if parser.should_upgrade():
            if request.wants_websocket or request.method == b"CONNECT":
                self._refuse_and_close(local_reply.no_websockets())
            return  # see _parse
        refused = head_rules.refusal_of(request, version)
        if refused is not None:
            self._refuse_and_close(refused)
            return
        self._matched_in = self._gateway.table_generation
        match = self._match = self._gateway.match(request)
        if type(match) is ServiceMatch:
            length = request.content_length
            if length is not None and length > match.service.limits.max_body_bytes:
                match = self._refuse_body(match)
        if request.expects_continue or type(match) is not ServiceMatch:
            self._answer_before_body(match)

    def on_body(self, body: bytes) -> None:
        match = self._match
        self._num_body_bytes += len(body)
        if type(match) is not ServiceMatch:
            return  # refused: nobody wants it
        if self._num_body_bytes > match.service.limits.max_body_bytes:
            self._answer_before_body(self._refuse_body(match))
            return
        pieces = self._body
        if len(pieces) < MAX_NUM_PIECES:
            pieces.append(body)
        elif len(pieces) == MAX_NUM_PIECES:
            pieces.append(bytearray(body))
        else:
            pieces[-1] += body

    def on_message_complete(self) -> None:
        if self._is_deaf:
            return
        if self._parser.should_upgrade():
            return  # see _parse
        self._is_reading = False
        if self._request.is_last:
            self._is_deaf = True
        body = bytes(self._body[0]) if len(self._body) == 1 else b"".join(self._body)
        if self._exchange is None and not self._queue and not self.is_paused:
            self._start(self._request, body, self._match, self._heard_at)
            return
        self._queue.append(Queued(self._request, body, self._match, self._heard_at))
        if self._transport is not None:
            self._transport.pause_reading()  # one who sends ahead has time

    # helpers

    def _parse(self, data: bytes) -> None:
        """Tell the parser. A request that offers another protocol (HTTP/2, mostly) is read again
        without the offer, which tells the client that it was not taken."""
        pieces: list[bytes | memoryview] = [data]
        while pieces:
            piece = pieces.pop()
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                if self._is_deaf:
                    return
                # It thinks that the request ended with its head.
                self._parser = httptools.HttpRequestParser(self)
                pieces += (memoryview(piece)[upgrade.args[0] :], self._request.without_upgrade())

    def _count_head(self, num_bytes: int) -> None:
        """So many more bytes have come that are no body."""
        self._num_head_bytes += num_bytes
        if self._num_head_bytes > MAX_NUM_HEAD_BYTES:
            self._refuse_and_close(local_reply.head_too_large(MAX_NUM_HEAD_BYTES))

    def _max_reading_s(self) -> float:
        """How long the request that is being read may take to come."""
        match = self._match
        if self._is_in_head or type(match) is not ServiceMatch:
            return MAX_READ_S
        return match.service.limits.request_timeout_s

    def _start_repeated(self, data: bytes, now: float) -> bool:
        """Start the request without parsing it, if all but its body is as it was before."""
        assert self._repeated is not None
        match = self._match
        if self._matched_in != self._gateway.table_generation or type(match) is not ServiceMatch:
            return False
        if self.is_paused:
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
        self, request: Request, body: bytes, match: ServiceMatch | OwnAnswer, arrived_at: float
    ) -> None:
        if type(match) is ServiceMatch:
            exchange = self._gateway.start_exchange(self, match, request, body, arrived_at)
            self._exchange = exchange
            exchange.start()
            return
        assert not isinstance(match, ServiceMatch)
        is_last = request.is_last or self._gateway.is_draining
        self.write(local_reply.answer_bytes(match, request, is_last=is_last))
        if is_last:
            self._close()

    def _start_next(self) -> None:
        # An answer may be there at once, and then it must not start the next one in turn.
        self._is_starting = True
        while self._queue and self._exchange is None and self._transport and not self.is_paused:
            queued = self._queue.popleft()
            self._start(queued.request, queued.body, queued.match, queued.arrived_at)
        self._is_starting = False
        if not self._queue and self._transport is not None:
            self._transport.resume_reading()

    def _refuse_body(self, match: ServiceMatch) -> Refused:
        refused = local_reply.body_too_large(match.service.limits.max_body_bytes)
        self._gateway.refused(match, refused)
        self._match = refused
        self._body.clear()
        return refused

    def _answer_before_body(self, match: ServiceMatch | OwnAnswer) -> None:
        """Spare the client the body that is refused, or tell it to go on. While another answer
        is due first, neither can be said, and the body just comes."""
        if self._exchange is not None or self._queue:
            return
        if not isinstance(match, ServiceMatch):
            if self._request.expects_continue or self._request.is_long(MAX_SPARED_BYTES):
                self._refuse_and_close(match)
        else:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse_and_close(self, refused: OwnAnswer) -> None:
        """Say so, and let the client read it: closing while it sends would reset the connection."""
        self._is_deaf = True
        self._is_reading = False
        self._is_in_head = False
        self._heard_at = self._began_at = time.monotonic()
        if self._exchange is not None or self._queue:  # whose answers come first
            self._request.is_last = True
            self._queue.append(Queued(self._request, b"", refused, self._heard_at))
            return
        self.write(local_reply.answer_bytes(refused, self._request, is_last=True))
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _sender(transport: asyncio.BaseTransport) -> Sender:
    peer = transport.get_extra_info("peername")
    if not peer:
        return _UNKNOWN
    scheme = b"http" if transport.get_extra_info("ssl_object") is None else b"https"
    return Sender(peer[0].encode(), scheme, is_loopback(peer[0]))
