"""The server's lifecycle: bind, load, serve, drain, exit.

1. ``serve`` binds the port, then loads the engine. A signal during loading exits.
2. ``LifecycleReporter.ready`` is called when requests are accepted.
3. The first SIGTERM or SIGINT starts draining: new requests get 503, running ones may finish
   within ``shutdown_timeout``. A second SIGINT exits at once.
4. If the engine core's process dies, running requests fail and the exit code is 1.
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
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from headrace.core.errors import HeadraceError, InvalidInputError
from headrace.engine.async_engine import AsyncEngine
from headrace.engine.config import EngineConfig
from headrace.engine.rendering.chat_template import ChatTemplate, load_chat_template
from headrace.engine.rendering.renderer import PromptRenderer
from headrace.listen.origins import is_loopback
from headrace.listen.sockets import base_url, bind
from headrace.listen.tls import tls_files
from headrace.server.adapters import read_lora_module
from headrace.server.api_keys import read_api_key_file
from headrace.server.app import create_app
from headrace.server.config import ServerConfig
from headrace.server.http.uvicorn_server import UvicornServer
from headrace.server.reporting.logs import configure_logging
from headrace.server.reporting.metrics import ServerMetrics
from headrace.server.reporting.tracing import RequestTracer, open_tracer
from headrace.server.sampling_defaults import read_sampling_defaults
from headrace.server.served_model import ServedModel

FLUSH_TIMEOUT_S = 5
"""Time for slow clients to read their responses after the engine is idle."""

logger = logging.getLogger("headrace.server")

StartEngine = Callable[[ServerMetrics], Awaitable[AsyncEngine]]


class StartupError(HeadraceError):
    """The HTTP server ended before it accepted requests."""

    code = "startup_failed"


class LifecycleReporter(Protocol):
    """Shows the lifecycle to the user."""

    def ready(self, served: ServedModel, url: str) -> None:
        """Requests are accepted at this URL."""

    def draining(self, num_unfinished: int, timeout_s: float) -> None:
        """New requests are refused; num_unfinished requests are still running."""

    def failed(self, message: str) -> None:
        """The engine has failed."""


def serve(
    config: ServerConfig,
    engine_config: EngineConfig,
    start_engine: StartEngine,
    reporter: LifecycleReporter,
) -> int:
    """Serve until a signal arrives or the engine fails; returns the exit code.

    Raises HeadraceError if the server cannot start.
    """
    if not engine_config.enable_lora:
        _check_without_adapters(config)
    configure_logging(config.log_level, config.log_format, config.uvicorn_log_level)
    sampling_defaults = read_sampling_defaults(config)
    if config.api_key_file is not None:
        keys = (*config.api_key, *read_api_key_file(config.api_key_file))
        config = replace(config, api_key=keys)
    files = tls_files(config.ssl_certfile, config.ssl_keyfile)
    tls = None if files is None else files.server_context()
    template = None if config.chat_template is None else load_chat_template(config.chat_template)
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
            run = _Run(
                config,
                engine_config,
                start_engine,
                reporter,
                sock,
                tls,
                template,
                tracer,
                sampling_defaults,
            )
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
        engine_config: EngineConfig,
        start_engine: StartEngine,
        reporter: LifecycleReporter,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        template: str | None,
        tracer: RequestTracer | None,
        sampling_defaults: dict[str, float] | None,
    ) -> None:
        self._config = config
        self._engine_config = engine_config
        self._start_engine = start_engine
        self._reporter = reporter
        self._sock = sock
        self._tls = tls
        self._template = template
        self._tracer = tracer
        self._sampling_defaults = sampling_defaults
        self._stop_signal: int | None = None
        self._stop = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        names = self._config.served_model_name or (self._engine_config.model,)
        metrics = ServerMetrics(names[0], with_legacy=self._config.legacy_metrics)
        engine = await self._load(metrics)
        if engine is None:
            return 128 + (self._stop_signal or 0)
        try:
            metrics.open(engine.ready, self._engine_config)
            template = ChatTemplate(engine.model_files, engine.tokenizer, self._template)
            async with PromptRenderer(template) as renderer:
                served = ServedModel(
                    engine=engine,
                    config=self._config,
                    metrics=metrics,
                    model=self._engine_config.model,
                    created=int(time.time()),
                    chat_template=template,
                    renderer=renderer,
                    tracer=self._tracer,
                    own_sampling_defaults=self._sampling_defaults,
                )
                for text in self._config.lora_modules:
                    module = read_lora_module("lora_modules", text)
                    await served.adapters.load(module, param="lora_modules")
                return await self._serve(served)
        finally:
            await engine.shutdown()

    def _on_signal(self, number: int) -> None:
        if self._stop_signal is not None and number == signal.SIGINT:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + number)  # the core process notices and exits too
        self._stop_signal = self._stop_signal or number
        self._stop.set()

    async def _load(self, metrics: ServerMetrics) -> AsyncEngine | None:
        """The engine, or None if a signal arrived first."""
        loading = asyncio.ensure_future(self._start_engine(metrics))
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({loading, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            stopped.cancel()
            return loading.result()
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
        return None

    async def _serve(self, served: ServedModel) -> int:
        app = create_app(served, on_loopback=is_loopback(self._sock.getsockname()[0]))
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
        scheme = "http" if self._tls is None else "https"
        self._reporter.ready(served, base_url(self._sock, scheme))

        dead = asyncio.create_task(served.engine.wait_dead())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({serving, dead, stopped}, return_when=asyncio.FIRST_COMPLETED)
        flush_timeout_s: float = FLUSH_TIMEOUT_S
        if stopped.done() and not dead.done():
            flush_timeout_s = await self._drain(served)
        for task in (dead, stopped):
            task.cancel()
        error = served.engine.dead_error
        if error is not None:
            self._reporter.failed(str(error))
        server.end(flush_timeout_s)
        await serving
        return 0 if error is None else 1

    async def _drain(self, served: ServedModel) -> float:
        """Wait for running requests; returns the seconds left for their responses to be sent."""
        timeout_s = self._config.shutdown_timeout
        self._reporter.draining(served.engine.num_unfinished, timeout_s)
        began = time.monotonic()
        await served.engine.drain(timeout_s)
        return max(FLUSH_TIMEOUT_S, timeout_s - (time.monotonic() - began))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
