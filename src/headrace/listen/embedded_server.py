"""A small HTTP server in the event loop of another program."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

_CLOSE_TIMEOUT_S = 1
"""For responses that are being sent."""


class EmbeddedServer:
    """uvicorn without its signal handlers and its main loop, which wakes up ten times a second.

    Request heads are limited to 64 KiB. Responses have no ``Date`` unless the application sets it.
    """

    def __init__(self, app: ASGIApp, *, keepalive_timeout_s: int = 30) -> None:
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=keepalive_timeout_s,
            timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)

    async def start(self, sock: socket.socket) -> None:
        """Listen on this bound socket."""
        await self._server.startup([sock])

    async def close(self) -> None:
        """Stop listening and close all connections."""
        await self._server.shutdown()
