"""The admin port: /health, /stats and /requests for the control plane, /metrics for Prometheus."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from headrace.core.request_records import RequestQuery
from headrace.gateway.reporting.metrics import GatewayMetrics
from headrace.gateway.reporting.request_log import RequestLog
from headrace.gateway.reporting.stats import gateway_stats
from headrace.gateway.routing.router import Router

KEEPALIVE_TIMEOUT_S = 30.0
MAX_BODY_BYTES = 1024
"""No request needs a body."""


class Admin:
    """For one router and its requests."""

    def __init__(
        self,
        router: Router,
        log: RequestLog,
        is_draining: Callable[[], bool],
        accepts_host: Callable[[bytes | None], bool],
    ) -> None:
        """``accepts_host``: whether a request with this ``Host``, or without one, is allowed."""
        self._accepts_host = accepts_host
        self._router = router
        self._log = log
        self._metrics = GatewayMetrics(router)
        self._is_draining = is_draining
        app = web.Application(middlewares=[self._check], client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/health", self._health)
        app.router.add_get("/stats", self._stats)
        app.router.add_get("/requests", self._requests)
        app.router.add_get("/metrics", self._expose)
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=KEEPALIVE_TIMEOUT_S, shutdown_timeout=0.0
        )

    async def start(self, sock: socket.socket) -> None:
        """Listen on this bound socket."""
        await self._runner.setup()
        await web.SockSite(self._runner, sock).start()

    async def close(self) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        hosts = request.headers.getall("host", [])
        host = ", ".join(hosts).encode("utf-8", "surrogateescape") if hosts else None
        if not self._accepts_host(host):
            return _error(421, "Host not allowed; see --allowed-hosts.")
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed:
            return _error(405, "Only GET is supported.")
        except web.HTTPNotFound:
            return _error(404, "Not found. The paths are /health, /stats, /requests and /metrics.")

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="draining\n" if self._is_draining() else "ok\n")

    async def _stats(self, request: web.Request) -> web.Response:
        stats = gateway_stats(self._router, time.monotonic())
        return web.Response(body=msgspec.json.encode(stats), content_type="application/json")

    async def _requests(self, request: web.Request) -> web.Response:
        try:
            query = msgspec.convert(dict(request.query), RequestQuery, strict=False)
        except msgspec.ValidationError as error:
            return _error(400, f"Invalid query: {error}.")
        records = self._log.find(query)
        return web.Response(body=msgspec.json.encode(records), content_type="application/json")

    async def _expose(self, request: web.Request) -> web.Response:
        exposition = self._metrics.expose(request.headers.get("accept", ""))
        headers = {"content-type": exposition.content_type}
        return web.Response(body=exposition.body, headers=headers)


def _error(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")
