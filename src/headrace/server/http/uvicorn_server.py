"""uvicorn on a socket that is already bound."""

import asyncio
import math
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import uvicorn
from starlette.types import ASGIApp

from headrace.listen.sockets import listen_error

KEEP_ALIVE_TIMEOUT_S = 75
"""Longer than clients keep idle connections in their pools, so that the client closes first."""


class UvicornServer(uvicorn.Server):
    """Sets ``listening`` when it accepts connections, and leaves signals to lifecycle.py."""

    def __init__(self, app: ASGIApp, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        super().__init__(_config(app, tls))
        self._sock = sock
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Raises HeadraceError when the socket cannot listen."""
        try:
            await super().startup(sockets)
        except OSError as error:
            host, port = self._sock.getsockname()[:2]
            raise listen_error(host, port, error) from error
        self.listening.set()

    def end(self, flush_timeout_s: float) -> None:
        """Close the listening socket now, and each connection when its response is complete."""
        self.config.timeout_graceful_shutdown = math.ceil(flush_timeout_s)
        self.should_exit = True


def _config(app: ASGIApp, tls: ssl.SSLContext | None) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=_http_protocol(),
        log_config=None,
        access_log=False,  # server/logs.py writes it
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
    )
    config.load()
    config.ssl = tls
    return config


def _http_protocol() -> type[asyncio.Protocol] | Literal["auto"]:
    try:
        from headrace.server.http.uvicorn_protocol import HttpProtocol
    except ImportError:  # no httptools on Windows
        return "auto"
    return HttpProtocol
