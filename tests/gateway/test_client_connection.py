"""Timeouts and limits of client connections, with a fake clock."""

import asyncio
from typing import Any

import pytest

from headrace.core.gateway.routes import Limits, ServiceRoute, TargetRoute
from headrace.gateway import client_connection
from headrace.gateway.client_connection import (
    LINGER_TIMEOUT_S,
    MAX_LINGER_S,
    READ_TIMEOUT_S,
    WRITE_TIMEOUT_S,
    ClientConnection,
)
from headrace.gateway.errors import ErrorResponse, unknown_service
from headrace.gateway.http.http_request import Request
from headrace.gateway.proxied_request import ProxiedRequest
from headrace.gateway.routing.decisions import ServiceMatch
from headrace.gateway.routing.topology import ServiceState

UPLOAD_S = 300.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Transport(asyncio.Transport):
    """Accepts all writes; ``num_unsent`` bytes are unsent."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.num_unsent = 0
        self.is_reading = True
        self.is_aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("10.0.0.1", 1) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def get_write_buffer_size(self) -> int:
        return self.num_unsent

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        pass


class Gateway:
    """Matches ``/svc`` and starts nothing."""

    is_draining = False
    table_generation = 0

    def __init__(self) -> None:
        self.service = ServiceState("svc")
        limits = Limits(request_timeout_s=UPLOAD_S)
        self.service.update(ServiceRoute("svc", True, (TargetRoute(1, 3000, 100),), limits=limits))
        self.num_refused = 0

    def match(self, request: Request) -> ServiceMatch | ErrorResponse:
        is_known = request.path == b"/svc"
        return ServiceMatch(self.service, b"/") if is_known else unknown_service()

    def count_rejected(self, match: ServiceMatch, request: Request, error: ErrorResponse) -> None:
        self.num_refused += 1

    def add_request(self, *_: object) -> ProxiedRequest:
        raise AssertionError("no request is whole here")

    def opened(self, connection: ClientConnection) -> None:
        pass

    def closed(self, connection: ClientConnection) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(client_connection, "time", clock)
    return clock


@pytest.fixture
def connected(clock: Clock) -> tuple[ClientConnection, Transport]:
    connection = ClientConnection(Gateway())
    transport = Transport()
    connection.connection_made(transport)
    return connection, transport


Connected = tuple[ClientConnection, Transport]


def trickle(connection: ClientConnection, clock: Clock, piece: bytes, for_s: float) -> None:
    """Send this every second, and let the connection check its timeouts."""
    until = clock.now + for_s
    while clock.now < until:
        clock.now += 1
        connection.data_received(piece)
        connection.check_timeouts(clock.now)


def test_a_slow_head_times_out(connected: Connected, clock: Clock) -> None:
    connection, transport = connected
    connection.data_received(b"GET /svc HTTP/1.1\r\nx: ")
    trickle(connection, clock, b"y", READ_TIMEOUT_S - 1)
    assert transport.written == b""
    trickle(connection, clock, b"y", 2)
    assert transport.written.startswith(b"HTTP/1.1 408 ")


def test_a_body_may_take_as_long_as_a_request(connected: Connected, clock: Clock) -> None:
    connection, transport = connected
    connection.data_received(b"POST /svc HTTP/1.1\r\nhost: h\r\ncontent-length: 9999\r\n\r\n")
    trickle(connection, clock, b"y", UPLOAD_S - 1)
    assert transport.written == b""
    trickle(connection, clock, b"y", 2)
    assert transport.written.startswith(b"HTTP/1.1 408 ")


def test_trailers_are_limited(connected: Connected) -> None:
    connection, transport = connected
    connection.data_received(b"POST /svc HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
    connection.data_received(b"1\r\nx\r\n0\r\nx: ")
    for _ in range(65):
        connection.data_received(b"y" * 1024)
    assert transport.written.startswith(b"HTTP/1.1 431 ")


def test_small_body_chunks_are_not_counted_as_head(connected: Connected) -> None:
    connection, transport = connected
    connection.data_received(b"POST /svc HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(20_000):
        connection.data_received(b"1\r\nx\r\n")
    assert transport.written == b""


def test_a_refused_client_cannot_send_indefinitely(connected: Connected, clock: Clock) -> None:
    connection, transport = connected
    connection.data_received(b"nonsense\r\n\r\n")
    assert transport.written.startswith(b"HTTP/1.1 400 ")
    trickle(connection, clock, b"more", MAX_LINGER_S - 1)
    assert not transport.is_aborted
    trickle(connection, clock, b"more", 2)
    assert transport.is_aborted


def test_a_refused_connection_is_closed_without_waiting(connected: Connected, clock: Clock) -> None:
    connection, transport = connected
    connection.data_received(b"nonsense\r\n\r\n")
    clock.now += LINGER_TIMEOUT_S + 0.1
    connection.check_timeouts(clock.now)
    assert transport.is_aborted


def test_a_slow_reader_gets_its_complete_response(connected: Connected, clock: Clock) -> None:
    """As long as it reads some of it occasionally, at any time after the response ended."""
    connection, transport = connected
    connection.data_received(b"GET /nowhere HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    for transport.num_unsent in range(1000, 900, -1):
        clock.now += WRITE_TIMEOUT_S - 1
        connection.check_timeouts(clock.now)
    assert not transport.is_aborted


@pytest.mark.parametrize("header", [b"x: y", b"connection: close"])
def test_a_client_that_reads_nothing_is_disconnected(
    connected: Connected, clock: Clock, header: bytes
) -> None:
    connection, transport = connected
    connection.data_received(b"GET /nowhere HTTP/1.1\r\nhost: h\r\n%b\r\n\r\n" % header)
    transport.num_unsent = 100
    connection.check_timeouts(clock.now)
    clock.now += WRITE_TIMEOUT_S + 1
    connection.check_timeouts(clock.now)
    assert transport.is_aborted


def test_no_response_is_written_while_another_is_blocked(connected: Connected) -> None:
    """Otherwise a client that sends and never reads would fill the memory."""
    connection, transport = connected
    connection.pause_writing()
    connection.data_received(b"GET /nowhere HTTP/1.1\r\nhost: h\r\n\r\n" * 10)
    assert transport.written == b""
    assert not transport.is_reading
    connection.resume_writing()
    assert transport.is_reading
    assert transport.written.count(b"HTTP/1.1 404 ") == 10


def test_pipelined_requests_are_not_counted_as_one_head(connected: Connected) -> None:
    connection, transport = connected
    many = b"GET /nowhere HTTP/1.1\r\nhost: h\r\n\r\n" * 3000
    connection.data_received(many + b"GET /nowhere")
    connection.data_received(b" HTTP/1.1\r\nhost: h\r\n\r\n")
    assert transport.written.count(b"HTTP/1.1 404 ") == 3001


def test_repeated_upgrades_are_declined(connected: Connected) -> None:
    connection, transport = connected
    offer = b"GET /nowhere HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    connection.data_received(offer * 2000)
    assert transport.written.count(b"HTTP/1.1 404 ") == 2000
