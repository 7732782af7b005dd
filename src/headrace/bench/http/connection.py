"""One HTTP/1.1 connection to a server under measurement: a request out, its answer in, again.

Knows bytes and the parts of an HTTP message, nothing of JSON, of events or of what is measured.
"""

import asyncio
import time
from typing import Protocol, cast

import httptools


class AnswerSink(Protocol):
    """Whoever takes an answer as it comes. A BadAnswerError ends the exchange; nothing else may be
    raised."""

    def on_status(self, status: int, content_type: str, now_s: float) -> None:
        """The head has come; ``now_s`` is of ``time.perf_counter``."""

    def on_body(self, body: bytes, now_s: float) -> None:
        """A piece of the body has come."""


class ConnectionCutError(Exception):
    """The connection was closed before the answer's end."""

    def __init__(self, has_begun: bool) -> None:
        super().__init__("The server closed the connection before its answer ended.")
        self.has_begun = has_begun
        """Whether any byte of the answer had come."""


class BadAnswerError(Exception):
    """What came is not HTTP, or more than an answer may be."""


class HttpConnection(asyncio.Protocol):
    """Made by ``loop.create_connection``; carries one exchange at a time.

    The clock is read once for each read from the socket: all that one read brings came together.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._sink: AnswerSink | None = None
        self._done: asyncio.Future[float] | None = None
        self._now_s = 0.0
        self._has_begun = False
        self._has_framing = False
        self.was_chunked = False
        """The answer that came last, which is how streams come."""
        self._ends_with_connection = False
        """Whether the body has no length, so that the end of the connection is its end."""
        self._is_interim = False
        self._content_type = ""
        self.is_open = False
        """Whether another request may be sent on it."""
        self.ended_s = 0.0
        """When its last answer ended, by ``time.perf_counter``."""

    async def exchange(self, request: bytes, sink: AnswerSink) -> float:
        """Send a request and give its answer to ``sink``; returns when its last byte came.

        Raises ConnectionCutError or BadAnswerError. Cancelled, it closes the connection.
        """
        if self._transport is None or not self.is_open:
            raise ConnectionCutError(has_begun=False)
        self._sink = sink
        self._has_begun = False
        self._ends_with_connection = False
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._done
        except BaseException:
            self.close()
            raise
        finally:
            self._sink = None
            self._done = None

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self._sink is None:  # nobody asked for anything: what follows would be misread
            self.close()
            return
        self._now_s = time.perf_counter()
        self._has_begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._fail(error.__context__ or error)
        except httptools.HttpParserError as error:
            self._fail(BadAnswerError(f"The answer is not HTTP: {error}."))
        except httptools.HttpParserUpgrade:
            self._fail(BadAnswerError("The server left HTTP for another protocol."))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._ends_with_connection and exc is None:
            self._succeed(time.perf_counter())
        else:
            self._fail(ConnectionCutError(self._has_begun))

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._content_type = ""
        self._has_framing = False
        self.was_chunked = False
        self._ends_with_connection = False

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"content-type":
            self._content_type = value.decode("latin-1").lower()
        elif lower == b"content-length":
            self._has_framing = True
        elif lower == b"transfer-encoding":
            self._has_framing = self.was_chunked = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._is_interim = 100 <= status < 200
        if self._is_interim:
            return
        self._ends_with_connection = not self._has_framing and status not in (204, 304)
        if self._sink is not None:
            self._sink.on_status(status, self._content_type, self._now_s)

    def on_body(self, body: bytes) -> None:
        if self._sink is not None:
            self._sink.on_body(body, self._now_s)

    def on_message_complete(self) -> None:
        if self._is_interim:
            return
        if not self._parser.should_keep_alive():
            self.is_open = False
        self._succeed(self._now_s)

    def _succeed(self, now_s: float) -> None:
        self.ended_s = now_s
        if self._done is not None and not self._done.done():
            self._done.set_result(now_s)

    def _fail(self, error: BaseException) -> None:
        self.is_open = False
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)
