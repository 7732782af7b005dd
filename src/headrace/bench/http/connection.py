"""One exchange with a server under measurement, over a connection of `headrace.http1`."""

from __future__ import annotations

import asyncio
from typing import Protocol

from headrace.http1.connection import HttpConnection, InvalidResponseError, ResponseHead

BenchConnection = HttpConnection[ResponseHead]


class ResponseSink(Protocol):
    """Gets the response. It may raise InvalidResponseError, which ends the exchange.

    All parts that one read from the socket brings have one time, that of the read.
    """

    def on_status(self, status: int, content_type: str, now_s: float) -> None:
        """The head has come; ``now_s`` is of ``time.perf_counter``."""

    def on_body(self, body: bytes, now_s: float) -> None:
        """A part of the body has come."""


class ConnectionCutError(Exception):
    """The connection was closed before the response was complete."""

    def __init__(self) -> None:
        super().__init__("The server closed the connection before its response was complete.")


async def exchange(connection: BenchConnection, request: bytes, sink: ResponseSink) -> float:
    """Send a request, and pass its response to ``sink``; returns the time of its last byte.

    Raises ConnectionCutError or InvalidResponseError. If it is cancelled, it closes the connection.
    """
    if not connection.is_usable:
        raise ConnectionCutError
    receiver = _Receiver(connection, sink)
    connection.send(receiver, request)
    try:
        return await receiver.done
    except BaseException:
        connection.abort()
        raise


class _Receiver:
    __slots__ = ("_connection", "_ends_with_connection", "_sink", "done")

    is_head_request = False

    def __init__(self, connection: BenchConnection, sink: ResponseSink) -> None:
        self._connection = connection
        self._sink = sink
        self._ends_with_connection = False
        self.done: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def on_response(self, head: ResponseHead | None, body: list[bytes], is_complete: bool) -> None:
        now_s = self._connection.received_at
        sink = self._sink
        try:
            if head is not None:
                self._ends_with_connection = head.ends_with_connection
                content_type = head.inspected.get(b"content-type", b"")
                sink.on_status(head.status, content_type.decode("latin-1").lower(), now_s)
            for part in body:
                sink.on_body(part, now_s)
        except InvalidResponseError as error:
            self._connection.abort()
            self._fail(error)
            return
        if is_complete and not self.done.done():
            self.done.set_result(now_s)

    def on_response_cut(self, error: Exception | None) -> None:
        if isinstance(error, InvalidResponseError):
            self._fail(error)
        elif error is None and self._ends_with_connection:
            if not self.done.done():
                self.done.set_result(self._connection.clock())
        else:
            self._fail(ConnectionCutError())

    def _fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
