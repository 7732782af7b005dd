"""What a connection passes to its listener, and when it is reusable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace.http1.connection import (
    MAX_NUM_HEAD_BYTES,
    STALE_AFTER_S,
    HttpConnection,
    InvalidResponseError,
    ResponseHead,
)

REQUEST = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0


class Listener:
    is_head_request = False

    def __init__(self) -> None:
        self.heads: list[ResponseHead] = []
        self.body = b""
        self.is_complete = False
        self.cuts: list[Exception | None] = []

    def on_response(self, head: ResponseHead | None, body: list[bytes], is_complete: bool) -> None:
        assert not self.is_complete
        if head is not None:
            self.heads.append(head)
        self.body += b"".join(body)
        self.is_complete = is_complete

    def on_response_cut(self, error: Exception | None) -> None:
        self.cuts.append(error)


class Exchange:
    """A connection with a fake clock and a fake transport."""

    def __init__(self) -> None:
        self.now = 100.0
        self.released: list[Any] = []
        self.transport = Transport()
        self.connection = HttpConnection(ResponseHead, self.released.append, lambda: self.now)
        self.connection.connection_made(self.transport)

    def send(self) -> Listener:
        listener = Listener()
        self.connection.send(listener, REQUEST)
        return listener


def test_responses_are_parsed_in_any_fragmentation() -> None:
    exchange = Exchange()
    for _ in range(2):
        listener = exchange.send()
        for index in range(len(OK)):
            exchange.connection.data_received(OK[index : index + 1])
        assert [head.status for head in listener.heads] == [200]
        assert (listener.body, listener.is_complete) == (b"ok", True)
    assert exchange.released == [exchange.connection] * 2
    assert exchange.connection.num_responses == 2


def test_interim_responses_and_trailers_are_dropped() -> None:
    exchange = Exchange()
    listener = exchange.send()
    exchange.connection.data_received(
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nlink: y\r\n\r\n"
    )
    assert listener.is_complete
    assert b"link" not in listener.heads[0].inspected
    assert exchange.connection.was_chunked


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        OK + b"garbage",
        OK + OK,
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
def test_a_connection_without_keep_alive_is_closed(response: bytes) -> None:
    exchange = Exchange()
    listener = exchange.send()
    exchange.connection.data_received(response)
    assert (listener.body, listener.is_complete) == (b"ok", True)
    assert exchange.released == []
    assert not exchange.connection.is_usable


@pytest.mark.parametrize(
    "response",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_NUM_HEAD_BYTES,
    ],
    ids=["nonsense", "upgrade", "endless head"],
)
def test_an_invalid_response_closes_the_connection(response: bytes) -> None:
    exchange = Exchange()
    listener = exchange.send()
    exchange.connection.data_received(response)
    exchange.connection.connection_lost(None)
    assert [type(error) for error in listener.cuts] == [InvalidResponseError]
    assert not exchange.connection.is_usable


def test_an_unsolicited_response_closes_the_connection() -> None:
    exchange = Exchange()
    exchange.connection.data_received(OK)
    assert not exchange.connection.is_usable


@pytest.mark.parametrize(
    ("received", "idle_s", "is_stale"),
    [
        (b"", STALE_AFTER_S, True),
        (b"", STALE_AFTER_S / 2, False),
        (b"HTTP/1.1 2", STALE_AFTER_S, False),
        (OK[:-1], STALE_AFTER_S, False),
    ],
)
def test_a_connection_is_stale_if_nothing_was_received_after_idling(
    received: bytes, idle_s: float, is_stale: bool
) -> None:
    exchange = Exchange()
    exchange.send()
    exchange.connection.data_received(OK)
    exchange.now += idle_s
    listener = exchange.send()
    if received:
        exchange.connection.data_received(received)
    exchange.connection.connection_lost(None)
    assert listener.cuts == [None]
    assert exchange.connection.was_stale() is is_stale


def test_a_new_connection_is_never_stale() -> None:
    exchange = Exchange()
    exchange.now += 10 * STALE_AFTER_S
    exchange.send()
    exchange.connection.connection_lost(None)
    assert not exchange.connection.was_stale()
