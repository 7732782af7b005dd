"""One client's connection: receives requests, starts them, and writes their responses in order.

A request's body is received whole, up to its service's limit, since a retry sends it again.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol, cast

from headrace.gateway import errors
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.http.http_request import Peer, Request
from headrace.gateway.http.local_reply import LocalReply, local_reply_bytes
from headrace.gateway.http.repeated_head import RepeatedHead
from headrace.gateway.http.request_parser import RequestParser
from headrace.gateway.proxied_request import ProxiedRequest
from headrace.gateway.routing.decisions import ServiceMatch
from headrace.listen.origins import is_loopback

MAX_DISCARDED_BODY_BYTES = 64 * 1024
"""The connection of a rejected request stays open if the body that is discarded is no longer."""
MAX_NUM_HEAD_MISSES = 8
"""After this many requests with different heads, heads are not compared any more."""
READ_TIMEOUT_S = 60.0
"""Between two reads of a request, and for all of its head. The time for its body is its service's
request timeout."""
WRITE_TIMEOUT_S = 60.0
"""A client that reads nothing of a complete response for this long is disconnected."""
IDLE_TIMEOUT_S = 90.0
"""Longer than clients keep idle connections in their pools, so that they close them first."""
LINGER_TIMEOUT_S = 5.0
"""A client that was rejected and sends nothing for this long is disconnected."""
MAX_LINGER_S = 30.0
"""A client that was rejected is disconnected after this time even if it continues to send."""
DRAIN_IDLE_TIMEOUT_S = 1.0
"""The idle timeout while draining. With less, a request might be on its way."""

_RESET_WHEN_CLOSED = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time."""
_UNKNOWN_PEER = Peer(b"unknown")
_INVALID_HTTP = errors.invalid_http()


class Gateway(Protocol):
    """What all connections of one gateway share."""

    @property
    def is_draining(self) -> bool: ...

    @property
    def table_generation(self) -> int:
        """Changes whenever `match` may return something else than before."""

    def match(self, request: Request) -> ServiceMatch | LocalReply:
        """The service that a request is for, if it may be forwarded. Completes the request."""

    def count_rejected(self, match: ServiceMatch, request: Request, error: ErrorResponse) -> None:
        """Count a request that is rejected although it matched."""

    def add_request(
        self,
        connection: ClientConnection,
        match: ServiceMatch,
        request: Request,
        body: bytes,
        now: float,
    ) -> ProxiedRequest:
        """The caller starts it."""

    def opened(self, connection: ClientConnection) -> None: ...

    def closed(self, connection: ClientConnection) -> None: ...


@dataclass(frozen=True, slots=True)
class _Pipelined:
    """A complete request that waits until the responses before it are written."""

    request: Request
    body: bytes
    match: ServiceMatch | LocalReply
    arrived_at: float


class ClientConnection(asyncio.Protocol):
    __slots__ = (
        "__weakref__",
        "_current",
        "_gateway",
        "_is_rejected",
        "_is_starting",
        "_last_activity_at",
        "_linger_since",
        "_match",
        "_matched_in",
        "_num_head_misses",
        "_num_unsent",
        "_parser",
        "_queue",
        "_repeated",
        "_transport",
        "is_paused",
        "peer",
    )

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._parser: RequestParser  # made when connected: the two refer to each other
        self.peer = _UNKNOWN_PEER
        self._match: ServiceMatch | LocalReply = _INVALID_HTTP
        """Of the request that is being read, or was read last."""
        self._matched_in = 0
        """The table generation in which ``_match`` was found."""
        self._repeated: RepeatedHead | None = None
        """The last request's head; ``_match`` is a service then."""
        self._num_head_misses = 0
        self._num_unsent = 0
        """Bytes of responses in the write buffer at the last check."""
        self._linger_since = 0.0
        """When the last request or its response was complete, or the client was rejected."""
        self._current: ProxiedRequest | None = None
        """The request that is being answered."""
        self._queue: deque[_Pipelined] = deque()
        self._is_rejected = False
        """What the client sends is discarded."""
        self._is_starting = False
        self._last_activity_at = 0.0
        self.is_paused = False
        """The write buffer is full."""

    # for the gateway

    def check_timeouts(self, now: float) -> None:
        """Close the connection if it has been inactive for too long."""
        if self._current is not None or self._transport is None:
            return  # a proxied request has its own timeouts
        num_unsent = self._transport.get_write_buffer_size()
        if num_unsent != self._num_unsent:
            self._num_unsent = num_unsent
            self._last_activity_at = now  # the client has read something
        inactive_s = now - self._last_activity_at
        parser = self._parser
        if num_unsent:
            if inactive_s > WRITE_TIMEOUT_S:
                self.abort()
        elif parser.is_stopped:
            if inactive_s > LINGER_TIMEOUT_S or now - self._linger_since > MAX_LINGER_S:
                self.abort()
        elif parser.is_reading:
            if inactive_s > READ_TIMEOUT_S or now - parser.began_at > self._read_timeout_s():
                self.on_invalid(errors.request_timeout())
        elif inactive_s > (DRAIN_IDLE_TIMEOUT_S if self._gateway.is_draining else IDLE_TIMEOUT_S):
            self._close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # for the proxied request

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def response_complete(self, is_last: bool) -> None:
        self._current = None
        self._last_activity_at = self._linger_since = time.monotonic()
        if is_last:
            self._queue.clear()
            self._end()
        elif self._queue and not self._is_starting:
            self._start_next()

    def cut(self, by_reset: bool) -> None:
        self._current = None
        self._queue.clear()
        if by_reset and self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_WHEN_CLOSED)
            if self.peer.scheme == b"https":
                self._transport.abort()  # close() would send TLS's close_notify
                return
        self._close()

    # called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = RequestParser(self)
        self.peer = _peer_of(transport)
        self._last_activity_at = time.monotonic()
        self._gateway.opened(self)

    def data_received(self, data: bytes) -> None:
        now = self._last_activity_at = time.monotonic()
        parser = self._parser
        is_idle = self._current is None and not parser.is_reading
        if is_idle and self._repeated is not None and self._start_repeated(data, now):
            return
        if parser.is_stopped:
            return
        self._repeated = None
        parser.feed(data, now)
        if is_idle and not parser.is_reading and self._num_head_misses < MAX_NUM_HEAD_MISSES:
            self._remember_head(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._parser.close()
        self._queue.clear()
        current, self._current = self._current, None
        if current is not None:
            current.client_disconnected()
        self._gateway.closed(self)

    def pause_writing(self) -> None:
        self.is_paused = True
        if self._current is not None:
            self._current.pause()

    def resume_writing(self) -> None:
        self.is_paused = False
        if self._current is not None:
            self._current.resume()
        elif self._queue and not self._is_starting:
            self._start_next()

    # called by the parser

    def on_head(self, request: Request) -> int | None:
        self._matched_in = self._gateway.table_generation
        match = self._match = self._gateway.match(request)
        limit = None
        if type(match) is ServiceMatch:
            limit = match.service.limits.max_body_bytes
            length = request.content_length
            if length is not None and length > limit:
                match = self._reject_body(match)
                limit = None
        if request.expects_continue or type(match) is not ServiceMatch:
            self._reply_before_body(match)
        return limit

    def on_body_too_large(self) -> None:
        match = self._match
        assert isinstance(match, ServiceMatch)
        self._reply_before_body(self._reject_body(match))

    def on_request(self, request: Request, body: bytes) -> None:
        if request.is_last:
            self._linger_since = self._last_activity_at
        if self._current is None and not self._queue and not self.is_paused:
            self._start(request, body, self._match, self._last_activity_at)
            return
        self._queue.append(_Pipelined(request, body, self._match, self._last_activity_at))
        if self._transport is not None:
            self._transport.pause_reading()  # backpressure on pipelining

    def on_invalid(self, error: LocalReply) -> None:
        """Reply with the error, after the responses that are due before it."""
        self._parser.stop()
        self._is_rejected = True
        self._last_activity_at = self._linger_since = time.monotonic()
        request = self._parser.request
        if self._current is not None or self._queue:  # their responses come first
            request.is_last = True
            self._queue.append(_Pipelined(request, b"", error, self._last_activity_at))
            return
        self.write(local_reply_bytes(error, request, is_last=True))
        self._end()

    # helpers

    def _read_timeout_s(self) -> float:
        """For all of the request that is being read."""
        match = self._match
        if self._parser.is_in_head or type(match) is not ServiceMatch:
            return READ_TIMEOUT_S
        return match.service.limits.request_timeout_s

    def _start_repeated(self, data: bytes, now: float) -> bool:
        """Start the request without parsing it, if its head equals the last one."""
        assert self._repeated is not None
        match = self._match
        if self._matched_in != self._gateway.table_generation or type(match) is not ServiceMatch:
            return False
        if self.is_paused:
            return False
        body = self._repeated.body_in(data)
        if body is None or len(body) > match.service.limits.max_body_bytes:
            self._num_head_misses += 1
            return False
        self._num_head_misses = 0
        self._start(self._parser.request, body, match, now)
        return True

    def _remember_head(self, data: bytes) -> None:
        """If the data was one complete request, and another one may follow."""
        if type(self._match) is ServiceMatch and not self._parser.is_stopped:
            self._repeated = RepeatedHead.of(data, self._parser.num_body_bytes)

    def _start(
        self, request: Request, body: bytes, match: ServiceMatch | LocalReply, arrived_at: float
    ) -> None:
        if type(match) is ServiceMatch:
            proxied = self._gateway.add_request(self, match, request, body, arrived_at)
            self._current = proxied
            proxied.start()
            return
        assert not isinstance(match, ServiceMatch)
        is_last = request.is_last or self._gateway.is_draining
        self.write(local_reply_bytes(match, request, is_last=is_last))
        if is_last:
            self._end()

    def _start_next(self) -> None:
        # A response may be complete at once, and must not start the next request recursively.
        self._is_starting = True
        while self._queue and self._current is None and self._transport and not self.is_paused:
            waiting = self._queue.popleft()
            self._start(waiting.request, waiting.body, waiting.match, waiting.arrived_at)
        self._is_starting = False
        if not self._queue and self._transport is not None:
            self._transport.resume_reading()

    def _reject_body(self, match: ServiceMatch) -> ErrorResponse:
        error = errors.body_too_large(match.service.limits.max_body_bytes)
        self._gateway.count_rejected(match, self._parser.request, error)
        self._match = error
        return error

    def _reply_before_body(self, match: ServiceMatch | LocalReply) -> None:
        """Reject a request before its body is sent, or send 100 Continue; not while the response
        to another request is due first."""
        if self._current is not None or self._queue:
            return
        if isinstance(match, ServiceMatch):
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        request = self._parser.request
        if request.expects_continue or request.is_longer_than(MAX_DISCARDED_BODY_BYTES):
            self.on_invalid(match)

    def _end(self) -> None:
        """Close after the last response. What a rejected client sends is discarded until it has
        read the response: closing while it sends would reset the connection."""
        transport = self._transport
        if transport is None or not self._is_rejected:
            self._close()
            return
        self._last_activity_at = self._linger_since = time.monotonic()
        transport.resume_reading()
        if transport.can_write_eof():
            transport.write_eof()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _peer_of(transport: asyncio.BaseTransport) -> Peer:
    address = transport.get_extra_info("peername")
    if not address:
        return _UNKNOWN_PEER
    scheme = b"http" if transport.get_extra_info("ssl_object") is None else b"https"
    return Peer(address[0].encode(), scheme, is_loopback(address[0]))
