"""The admin port: /health, /stats, /usage and /requests for the control plane, /metrics for
Prometheus."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable
from email.utils import formatdate

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.core.gateway.request_records import RequestQuery
from headrace.core.gateway.usage import GatewayUsage
from headrace.gateway.reporting.metrics import GatewayMetrics
from headrace.gateway.reporting.request_log import RequestLog
from headrace.gateway.reporting.stats import gateway_stats
from headrace.gateway.reporting.usage_totals import usage_totals
from headrace.gateway.routing.router import Router
from headrace.listen.embedded_server import EmbeddedServer

AcceptsHost = Callable[[bytes | None], bool]
"""Whether a request with this ``Host``, or without one, is allowed."""

_ERRORS = {
    404: "Not found. The paths are /health, /stats, /usage, /requests and /metrics.",
    405: "Only GET is supported.",
}


class Admin:
    """For one router and its requests."""

    def __init__(
        self,
        router: Router,
        log: RequestLog,
        is_draining: Callable[[], bool],
        accepts_host: AcceptsHost,
    ) -> None:
        self._router = router
        self._log = log
        self._metrics = GatewayMetrics(router)
        self._is_draining = is_draining
        self._gateway_id = secrets.token_hex(8)
        app = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/stats", self._stats),
                Route("/usage", self._usage),
                Route("/requests", self._requests),
                Route("/metrics", self._expose),
            ],
            middleware=[Middleware(_HostCheck, accepts_host)],
            exception_handlers={HTTPException: _error},
        )
        app.router.redirect_slashes = False
        self._server = EmbeddedServer(app)

    async def start(self, sock: socket.socket) -> None:
        """Listen on this bound socket."""
        await self._server.start(sock)

    async def close(self) -> None:
        await self._server.close()

    async def _health(self, request: Request) -> Response:
        return _response("draining\n" if self._is_draining() else "ok\n", "text/plain")

    async def _stats(self, request: Request) -> Response:
        stats = gateway_stats(self._router, time.monotonic())
        return _response(msgspec.json.encode(stats), "application/json")

    async def _usage(self, request: Request) -> Response:
        usage = GatewayUsage(self._gateway_id, usage_totals(self._router))
        return _response(msgspec.json.encode(usage), "application/json")

    async def _requests(self, request: Request) -> Response:
        try:
            query = msgspec.convert(dict(request.query_params), RequestQuery, strict=False)
        except msgspec.ValidationError as error:
            raise HTTPException(400, f"Invalid query: {error}.") from error
        return _response(msgspec.json.encode(self._log.find(query)), "application/json")

    async def _expose(self, request: Request) -> Response:
        exposition = self._metrics.expose(request.headers.get("accept", ""))
        return _response(exposition.body, exposition.content_type)


class _HostCheck:
    def __init__(self, app: ASGIApp, accepts_host: AcceptsHost) -> None:
        self._app = app
        self._accepts_host = accepts_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = next((value for name, value in scope["headers"] if name == b"host"), None)
        if self._accepts_host(host):
            await self._app(scope, receive, send)
        else:
            refusal = PlainTextResponse("Host not allowed; see --allowed-hosts.\n", 421)
            await refusal(scope, receive, send)


def _response(body: bytes | str, content_type: str) -> Response:
    headers = {"date": formatdate(usegmt=True), "content-type": content_type}
    return Response(body, headers=headers)


def _error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = _ERRORS.get(error.status_code, error.detail)
    return PlainTextResponse(f"{text}\n", error.status_code, headers=error.headers)
