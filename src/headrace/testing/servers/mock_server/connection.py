"""One client's connection to the mock: HTTP/1.1 parsed by httptools, responses in order.

It schedules responses; `responses` builds them.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools
import msgspec

from headrace.testing.servers.mock_server.config import MockConfig
from headrace.testing.servers.mock_server.load import Load
from headrace.testing.servers.mock_server.responses import GenerateBody, Kind, Responses, error

_KINDS: dict[bytes, Kind] = {b"/v1/chat/completions": "chat", b"/v1/completions": "text"}
_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    415: b"Unsupported Media Type",
    503: b"Service Unavailable",
}
_decode_body = msgspec.json.Decoder(GenerateBody).decode


class Mock:
    """The shared state of all connections of one server."""

    def __init__(self, config: MockConfig, loop: asyncio.AbstractEventLoop) -> None:
        self.config = config
        self.loop = loop
        self.began = loop.time()
        self.responses = Responses(config.model)
        self.load = Load(config.max_concurrency)
        self.connections: set[Connection] = set()
        self.is_draining = False
        self.on_connection_lost: Callable[[], None] | None = None

    @property
    def is_ready(self) -> bool:
        return self.loop.time() - self.began >= self.config.startup_s


class _Request:
    __slots__ = ("body", "content_type", "is_last", "path")

    def __init__(self) -> None:
        self.path = b""
        self.content_type = b""
        self.body: list[bytes] = []
        self.is_last = False


class Connection(asyncio.Protocol):
    def __init__(self, mock: Mock) -> None:
        self._mock = mock
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._reading = _Request()
        self._pipelined: deque[_Request] = deque()
        """Complete requests, pipelined behind the current one."""
        self._generation: _Generation | None = None
        self._head = b"x-replica: " + mock.config.name.encode() + b"\r\n"

    # from asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._mock.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._respond(400, error("This is not HTTP.", "invalid_request_error"), is_last=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._pipelined.clear()
        if self._generation is not None:
            self._generation.cancel()
            self._generation = None
        self._mock.connections.discard(self)
        if self._mock.on_connection_lost is not None:
            self._mock.on_connection_lost()

    # from httptools

    def on_message_begin(self) -> None:
        self._reading = _Request()

    def on_url(self, url: bytes) -> None:
        self._reading.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 6 and name.lower() == b"expect" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif len(name) == 12 and name.lower() == b"content-type":
            self._reading.content_type = value

    def on_body(self, body: bytes) -> None:
        self._reading.body.append(body)

    def on_message_complete(self) -> None:
        request = self._reading
        request.is_last = not self._parser.should_keep_alive()
        if self._generation is None and not self._pipelined:
            self._handle(request)
        else:
            self._pipelined.append(request)

    # for the server

    def close_if_idle(self) -> None:
        if self._generation is None and self._transport is not None:
            self._transport.close()

    def _handle(self, request: _Request) -> None:
        path = request.path.partition(b"?")[0]
        mock = self._mock
        if path == b"/metrics":
            metrics = mock.load.metrics(mock.config.model)
            self._respond(200, metrics, b"text/plain", request.is_last)
        elif not mock.is_ready:
            self._respond(503, error("Still starting.", "server_error"), is_last=request.is_last)
        elif kind := _KINDS.get(path):
            self._generate(kind, request)
        elif path == b"/health":
            self._respond(200, b"", is_last=request.is_last)
        elif path == b"/v1/models":
            self._respond(200, mock.responses.models(), is_last=request.is_last)
        else:
            missing = error(f"There is no {path.decode('latin-1')}.", "invalid_request_error")
            self._respond(404, missing, is_last=request.is_last)

    def _generate(self, kind: Kind, request: _Request) -> None:
        media_type = request.content_type.partition(b";")[0].strip().lower()
        if media_type not in (b"", b"application/json"):
            wrong = error("The body must be application/json.", "invalid_request_error")
            self._respond(415, wrong, is_last=request.is_last)
            return
        try:
            body = _decode_body(b"".join(request.body))
        except (msgspec.DecodeError, msgspec.ValidationError) as refusal:
            wrong = error(str(refusal), "invalid_request_error")
            self._respond(400, wrong, is_last=request.is_last)
            return
        self._generation = _Generation(self, self._mock, kind, body, request.is_last)
        self._generation.start()

    def _respond(
        self,
        status: int,
        body: bytes,
        content_type: bytes = b"application/json",
        is_last: bool = False,
    ) -> None:
        self.write(self.head(status, content_type, len(body), is_last) + body)
        if is_last:
            self.close()

    # for its generation

    def head(self, status: int, content_type: bytes, num_bytes: int | None, is_last: bool) -> bytes:
        length = (
            b"transfer-encoding: chunked"
            if num_bytes is None
            else b"content-length: %d" % num_bytes
        )
        return b"HTTP/1.1 %d %s\r\n%scontent-type: %s\r\n%s\r\n%s\r\n" % (
            status,
            _REASONS[status],
            self._head,
            content_type,
            length,
            b"connection: close\r\n" if is_last or self._mock.is_draining else b"",
        )

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        self._pipelined.clear()
        if self._transport is not None:
            self._transport.close()

    def generation_ended(self, is_last: bool) -> None:
        self._generation = None
        if is_last or self._mock.is_draining:
            self.close()
            return
        while self._pipelined and self._generation is None:
            self._handle(self._pipelined.popleft())


class _Generation:
    """One generated response, from the queue to its last byte."""

    __slots__ = (
        "_began",
        "_body",
        "_connection",
        "_events",
        "_is_last",
        "_kind",
        "_mock",
        "_next",
        "_run",
        "_started_at",
        "_timer",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, mock: Mock, kind: Kind, body: GenerateBody, is_last: bool
    ) -> None:
        self._connection = connection
        self._mock = mock
        self._kind: Kind = kind
        self._body = body
        self._is_last = is_last
        self._began = mock.loop.time()
        self._started_at = self._began
        self._run = self._started  # one bound method, so that the queue can find it
        self._events: list[bytes] = []
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._mock.load.enter(self._run)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._mock.load.leave(self._run)

    def _started(self) -> None:
        config = self._mock.config
        self._started_at = self._mock.loop.time()
        self._mock.load.queue_time.observe(self._started_at - self._began)
        if self._body.stream:
            self._events = self._mock.responses.stream(self._kind, self._body, config.chunk_tokens)
            self._at(config.first_token_s, self._begin_stream)
            return
        seconds = config.first_token_s
        if config.tokens_per_s:
            seconds += max(self._body.num_tokens - 1, 0) / config.tokens_per_s
        self._at(seconds, self._complete)

    def _at(self, seconds: float, call: Callable[[], None]) -> None:
        """Call it this number of seconds after the generation started, or at once."""
        if seconds <= 0:
            call()
        else:
            self._timer = self._mock.loop.call_at(self._started_at + seconds, call)

    def _complete(self) -> None:
        self._observe_ttft()
        body = self._mock.responses.complete(self._kind, self._body)
        head = self._connection.head(200, b"application/json", len(body), self._is_last)
        self._end(head + body)

    def _begin_stream(self) -> None:
        self._observe_ttft()
        head = self._connection.head(200, b"text/event-stream", None, self._is_last)
        if self._mock.config.tokens_per_s:
            self._connection.write(head)
            self._token()
            return
        self._end(head + b"".join([_chunk(event) for event in self._events]) + b"0\r\n\r\n")

    def _token(self) -> None:
        """One event; the last ones, without tokens, are sent together."""
        config = self._mock.config
        self._next += 1
        event = self._events[self._next - 1]
        num_left = len(self._events) - self._next
        if num_left == 0:
            self._end(_chunk(event) + b"0\r\n\r\n")
            return
        self._connection.write(_chunk(event))
        if num_left == 1:
            self._token()
            return
        due_s = config.first_token_s + self._next * config.chunk_tokens / config.tokens_per_s
        self._timer = self._mock.loop.call_at(self._started_at + due_s, self._token)

    def _observe_ttft(self) -> None:
        self._mock.load.ttft.observe(self._mock.loop.time() - self._began)

    def _end(self, data: bytes) -> None:
        self._connection.write(data)
        self._mock.load.leave(self._run)
        self._connection.generation_ended(self._is_last)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
