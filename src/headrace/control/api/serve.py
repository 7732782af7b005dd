"""Runs an ASGI application and background loops in one event loop, until SIGTERM or SIGINT."""

import asyncio
import logging
import signal
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from headrace.control.api.http_protocol import HttpProtocol
from headrace.control.errors import LaunchError
from headrace.listen.tls import TlsFiles

logger = logging.getLogger("headrace.control")

_FLUSH_TIMEOUT_S = 2
"""For open responses."""


async def serve(
    app: FastAPI,
    port: int,
    loops: Mapping[str, Coroutine[Any, Any, None]],
    ending: asyncio.Event,
    tls: TlsFiles | None = None,
) -> None:
    """Serve on loopback and run the loops, until SIGTERM or SIGINT.

    ``loops``: by name; cancelled at shutdown. ``ending``: set when the shutdown begins, so that
    endless responses end. Raises LaunchError if a loop exits: a control plane that only responds is
    worse than one that is restarted. Raises HeadraceError if the certificate cannot be used.
    """
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        http=HttpProtocol,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_FLUSH_TIMEOUT_S,
    )
    config.load()
    config.ssl = None if tls is None else tls.server_context()
    server = _Server(config)
    tasks = {asyncio.create_task(loop, name=name): name for name, loop in loops.items()}

    def stop() -> None:
        ending.set()
        server.end()
        for task in tasks:  # at once: child processes may have received the signal too
            task.cancel()

    running = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop)
    for task in tasks:
        task.add_done_callback(lambda _: server.end())
    try:
        await server.serve()
        ended = [] if ending.is_set() else [task for task in tasks if task.done()]
    finally:
        stop()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        raise LaunchError(f"The {tasks[task]} exited unexpectedly: {task.exception()!r}")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def end(self) -> None:
        self.should_exit = True
