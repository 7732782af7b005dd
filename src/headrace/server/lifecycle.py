"""The server's lifecycle: bind, load, serve, drain, exit.

1. ``serve`` binds the port, then loads the model. A signal during loading exits. Several models
   are loaded on first use (model_pool).
2. ``LifecycleReporter.ready`` is called when requests are accepted.
3. The first SIGTERM or SIGINT starts draining: new requests get 503, running ones may finish
   within ``shutdown_timeout``. A second SIGINT exits at once.
4. If the engine core's process dies, running requests fail and the exit code is 1. Of several
   models, only that one is unloaded.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from headrace.core.errors import HeadraceError, InvalidInputError
from headrace.listen.origins import is_loopback
from headrace.listen.sockets import base_url, bind
from headrace.listen.tls import tls_files
from headrace.server.api_keys import read_api_key_file
from headrace.server.app import create_app
from headrace.server.config import ServerConfig
from headrace.server.http.uvicorn_server import UvicornServer
from headrace.server.model_pool.served_model_loader import (
    LoadableModel,
    LoadReporter,
    ServedModelLoader,
    StartEngine,
    read_options,
)
from headrace.server.model_pool.served_models import ServedModels
from headrace.server.model_pool.spec import ModelSpec, check_names, share_memory
from headrace.server.reporting.logs import configure_logging
from headrace.server.reporting.metrics_page import MetricsPage
from headrace.server.reporting.tracing import RequestTracer, open_tracer

FLUSH_TIMEOUT_S = 5
"""Time for slow clients to read their responses after the engine is idle."""

logger = logging.getLogger("headrace.server")


class StartupError(HeadraceError):
    """The HTTP server ended before it accepted requests."""

    code = "startup_failed"


class LifecycleReporter(LoadReporter, Protocol):
    """Shows the lifecycle to the user."""

    def ready(self, models: ServedModels, url: str, *, with_keys: bool) -> None:
        """Requests are accepted at this URL. with_keys: they need an API key."""

    def draining(self, num_unfinished: int, timeout_s: float) -> None:
        """New requests are refused; num_unfinished requests are still running."""

    def failed(self, message: str) -> None:
        """The engine has failed."""


def serve(
    config: ServerConfig,
    specs: Sequence[ModelSpec],
    start_engine: StartEngine,
    reporter: LifecycleReporter,
) -> int:
    """Serve until a signal arrives or the engine of the only model fails; returns the exit code.

    config: the server's options; those of each model are in ``specs``.
    Raises HeadraceError if the server cannot start.
    """
    check_names(specs)
    for spec in specs:
        if not spec.engine.enable_lora:
            _check_without_adapters(spec.server)
    configure_logging(config.log_level, config.log_format, config.uvicorn_log_level)
    models = [read_options(spec) for spec in share_memory(specs, config.max_loaded)]
    if config.api_key_file is not None:
        keys = (*config.api_key, *read_api_key_file(config.api_key_file))
        config = replace(config, api_key=keys)
    files = tls_files(config.ssl_certfile, config.ssl_keyfile)
    tls = None if files is None else files.server_context()
    endpoint = config.otlp_traces_endpoint
    tracer = None if endpoint is None else open_tracer(endpoint)
    sock = bind(config.host, config.port)
    try:
        host, port = sock.getsockname()[:2]
        if not config.api_key and not is_loopback(host):
            logger.warning(
                "Listening on %s port %d without an API key: anyone who can reach this address can "
                "use the server. Set HEADRACE_API_KEY or --api-key-file, or listen on 127.0.0.1.",
                host,
                port,
            )
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            run = _Run(config, models, start_engine, reporter, sock, tls, tracer)
            return runner.run(run.run())
    finally:
        sock.close()
        if tracer is not None:
            tracer.close()


def _check_without_adapters(config: ServerConfig) -> None:
    """Raises InvalidInputError for options of adapters."""
    for flag, value in (
        ("--lora-modules", config.lora_modules),
        ("--allow-runtime-lora-updating", config.allow_runtime_lora_updating),
    ):
        if value:
            raise InvalidInputError(f"{flag} needs --enable-lora.")


class _Run:
    def __init__(
        self,
        config: ServerConfig,
        models: Sequence[LoadableModel],
        start_engine: StartEngine,
        reporter: LifecycleReporter,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        tracer: RequestTracer | None,
    ) -> None:
        self._config = config
        self._reporter = reporter
        self._sock = sock
        self._tls = tls
        self._tracer = tracer
        self._metrics = MetricsPage([model.metrics for model in models])
        created = int(time.time())
        by_name = {model.spec.names[0]: model for model in models}
        self._pool = ServedModels(
            [model.spec for model in models],
            ServedModelLoader(by_name, start_engine, reporter, tracer, created),
            max_loaded=config.max_loaded,
            keep_alive_s=config.keep_alive or None,
            created=created,
        )
        self._stop_signal: int | None = None
        self._stop = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            if len(self._pool.slots) == 1 and not await self._load():
                return 128 + (self._stop_signal or 0)
            return await self._serve()
        finally:
            await self._pool.close()

    def _on_signal(self, number: int) -> None:
        if self._stop_signal is not None and number == signal.SIGINT:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + number)  # the core process notices and exits too
        self._stop_signal = self._stop_signal or number
        self._stop.set()

    async def _load(self) -> bool:
        """Load the only model; returns False if a signal arrived first."""
        loading = asyncio.ensure_future(self._pool.load_first())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({loading, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            stopped.cancel()
            loading.result()  # raises
            return True
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
        return False

    async def _serve(self) -> int:
        pool = self._pool
        app = create_app(
            pool,
            self._config,
            self._metrics,
            self._tracer,
            on_loopback=is_loopback(self._sock.getsockname()[0]),
        )
        server = UvicornServer(app, self._sock, self._tls)
        serving = asyncio.create_task(server.serve([self._sock]))
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            serving.result()  # raises
            raise StartupError("The HTTP server exited during startup.")
        # Everything loaded by now is permanent: exclude it from garbage collection, which would
        # take 0.15 s when a large body allocates many objects.
        gc.collect()
        gc.freeze()
        url = base_url(self._sock, "http" if self._tls is None else "https")
        self._reporter.ready(pool, url, with_keys=bool(self._config.api_key))

        dead = asyncio.create_task(pool.wait_dead())
        stopped = asyncio.create_task(self._stop.wait())
        expiring = asyncio.create_task(pool.keep_expiring())
        await asyncio.wait({serving, dead, stopped}, return_when=asyncio.FIRST_COMPLETED)
        flush_timeout_s: float = FLUSH_TIMEOUT_S
        if stopped.done() and not dead.done():
            flush_timeout_s = await self._drain()
        for task in (dead, stopped, expiring):
            task.cancel()
        error = pool.dead_error
        if error is not None:
            self._reporter.failed(str(error))
        server.end(flush_timeout_s)
        await serving
        return 0 if error is None else 1

    async def _drain(self) -> float:
        """Wait for running requests; returns the seconds left for their responses to be sent."""
        timeout_s = self._config.shutdown_timeout
        self._reporter.draining(self._pool.num_unfinished, timeout_s)
        began = time.monotonic()
        self._pool.drain()
        await asyncio.gather(*(served.engine.drain(timeout_s) for served in self._pool.models))
        return max(FLUSH_TIMEOUT_S, timeout_s - (time.monotonic() - began))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
