"""The admin port: /health, /stats for the control plane, /metrics for Prometheus.

Simple and slow: it is asked a few times a second. Knows nothing of the services' traffic but what
the router counts.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from headrace.gateway.reporting.metrics import GatewayMetrics
from headrace.gateway.reporting.stats import gateway_stats
from headrace.gateway.routing.router import Router

MAX_WAIT_S = 30.0
"""For the next request on a connection."""

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
}


class _Answer(msgspec.Struct, frozen=True):
    status: int
    content_type: str
    body: bytes


class Admin:
    """Answers for one router."""

    def __init__(
        self,
        router: Router,
        is_draining: Callable[[], bool],
        accepts_host: Callable[[bytes | None], bool],
    ) -> None:
        """``accepts_host``: whether to answer a request with this ``Host``, or without one."""
        self._accepts_host = accepts_host
        self._router = router
        self._metrics = GatewayMetrics(router)
        self._is_draining = is_draining
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self, sock: socket.socket) -> None:
        """Listen at this bound socket."""
        self._server = await asyncio.start_server(self._serve, sock=sock)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while await self._serve_one(reader, writer):
                pass
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            pass  # the client went away, or is none
        except asyncio.CancelledError:
            pass  # closing
        finally:
            self._clients.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether another request may follow."""
        async with asyncio.timeout(MAX_WAIT_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        answer = self._answer(first.split(" "), headers)
        is_last = headers.get("connection", "").lower() == "close" or not _is_bodyless(headers)
        writer.write(
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
            f"content-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n"
            f"connection: {'close' if is_last else 'keep-alive'}\r\n\r\n".encode()
        )
        if not first.startswith("HEAD "):
            writer.write(answer.body)
        await writer.drain()
        return not is_last

    def _answer(self, request: list[str], headers: dict[str, str]) -> _Answer:
        if len(request) != 3:
            return _text(400, "This is not an HTTP request.\n")
        method, target, _ = request
        host = headers.get("host")
        if not self._accepts_host(None if host is None else host.encode("latin-1")):
            return _text(421, "The admin port answers to loopback and to --allowed-hosts.\n")
        if method not in ("GET", "HEAD"):
            return _text(405, "The admin port only answers GET.\n")
        path = target.partition("?")[0]
        if path == "/health":
            return _text(200, "draining\n" if self._is_draining() else "ok\n")
        if path == "/stats":
            stats = gateway_stats(self._router, time.monotonic())
            return _Answer(200, "application/json", msgspec.json.encode(stats))
        if path == "/metrics":
            exposition = self._metrics.expose(headers.get("accept", ""))
            return _Answer(200, exposition.content_type, exposition.body)
        return _text(404, "Here are /health, /stats and /metrics.\n")


def _text(status: int, text: str) -> _Answer:
    return _Answer(status, "text/plain; charset=utf-8", text.encode())


def _is_bodyless(headers: dict[str, str]) -> bool:
    return headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
