"""Runs the control plane's API and its loops in one event loop, until it is told to stop.

Knows neither what the API answers nor what the loops do.
"""

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
"""For answers that are under way."""


async def serve(
    app: FastAPI,
    port: int,
    loops: Mapping[str, Coroutine[Any, Any, None]],
    ending: asyncio.Event,
    tls: TlsFiles | None = None,
) -> None:
    """Serve on loopback, with the loops beside it, until SIGTERM or SIGINT.

    ``loops`` are by name and are cancelled at the end. ``ending`` is set when it begins, so that
    answers without an end of their own end too. Raises LaunchError if one of them ends by
    itself: a control plane that answers and does nothing is worse than one that starts anew.
    Raises HeadraceError if the certificate cannot be used.
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
        for task in tasks:  # at once: what they wait for may get the signal too
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
        raise LaunchError(f"{tasks[task]} ended by itself: {task.exception()!r}")


class _Server(uvicorn.Server):
    """uvicorn, which leaves signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def end(self) -> None:
        self.should_exit = True
