"""The admin port: allowed hosts, responses, and no work while it is idle."""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from collections.abc import Awaitable, Callable

import pytest

from headrace.gateway.reporting.admin import Admin
from headrace.gateway.reporting.request_log import RequestLog
from headrace.gateway.routing.router import Router


class Selector(selectors.DefaultSelector):
    """Records how long the event loop is willing to sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float | None] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.timeouts.append(timeout)
        return super().select(timeout)


def run(scenario: Callable[[int], Awaitable[None]], selector: Selector | None = None) -> None:
    async def main() -> None:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        router = Router(time.monotonic())
        log = RequestLog(router, 10)
        admin = Admin(router, log, lambda: False, lambda host: host == b"good")
        await admin.start(sock)
        try:
            await scenario(sock.getsockname()[1])
        finally:
            await admin.close()

    loop = asyncio.SelectorEventLoop(selector or Selector())
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


async def fetch(port: int, request: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request}\r\nconnection: close\r\n\r\n".encode())
    response = await reader.read()
    writer.close()
    await writer.wait_closed()
    return response


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        ("GET /health HTTP/1.1\r\nhost: good", 200),
        ("GET /stats?x=1 HTTP/1.1\r\nhost: good", 200),
        ("GET /usage HTTP/1.1\r\nhost: good", 200),
        ("GET /metrics HTTP/1.1\r\nhost: good", 200),
        ("GET /requests HTTP/1.1\r\nhost: good", 200),
        ("GET /requests?service=a&status=5xx&limit=1000 HTTP/1.1\r\nhost: good", 200),
        ("GET /requests?limit=1001 HTTP/1.1\r\nhost: good", 400),
        ("GET /requests?status=9 HTTP/1.1\r\nhost: good", 400),
        ("GET /requests?servise=a HTTP/1.1\r\nhost: good", 400),
        ("GET /requests HTTP/1.1\r\nhost: bad", 421),
        ("HEAD /metrics HTTP/1.1\r\nhost: good", 200),
        ("POST /stats HTTP/1.1\r\nhost: good\r\ncontent-length: 0", 405),
        ("GET /nowhere HTTP/1.1\r\nhost: good", 404),
        ("GET /nowhere HTTP/1.1\r\nhost: bad", 421),
        ("POST /stats HTTP/1.1\r\nhost: bad\r\ncontent-length: 0", 421),
        ("GET /stats HTTP/1.1\r\nhost: good\r\nhost: bad", 400),
        ("nonsense", 400),
    ],
)
def test_status(request_head: str, status: int) -> None:
    async def scenario(port: int) -> None:
        response = await fetch(port, request_head)
        assert response.split(b" ", 2)[1] == str(status).encode(), response

    run(scenario)


def test_no_timers_are_set_while_it_is_idle() -> None:
    selector = Selector()

    async def scenario(port: int) -> None:
        await fetch(port, "GET /health HTTP/1.1\r\nhost: good")
        selector.timeouts.clear()
        await asyncio.to_thread(time.monotonic)
        assert set(selector.timeouts) <= {None, 0}

    run(scenario, selector)
