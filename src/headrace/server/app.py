"""The ASGI application: routes, middleware and error handlers."""

import asyncio

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from headrace.core.errors import ContextLengthError, HeadraceError
from headrace.listen.origin_guard import OriginGuard
from headrace.listen.origins import OriginPolicy
from headrace.server.config import ServerConfig
from headrace.server.endpoint import Endpoint, open_paths
from headrace.server.http.auth import AuthMiddleware
from headrace.server.http.cors import CorsMiddleware
from headrace.server.http.errors import (
    ApiError,
    ClientGoneError,
    host_or_origin_not_allowed,
    to_api_error,
    to_response,
    unknown_url,
    wrong_method,
)
from headrace.server.http.request_tracker import RequestObserver, RequestTracker
from headrace.server.http.root_path import RootPathMiddleware
from headrace.server.model_pool.served_models import ServedModels
from headrace.server.reporting.logs import log_request
from headrace.server.reporting.metrics_page import MetricsPage
from headrace.server.reporting.tracing import RequestTracer
from headrace.server.routes import ENDPOINTS


def create_app(
    pool: ServedModels,
    config: ServerConfig,
    metrics: MetricsPage,
    tracer: RequestTracer | None,
    *,
    on_loopback: bool,
) -> ASGIApp:
    """The ASGI application for these models.

    on_loopback: the socket is reachable from this machine only. Without API keys, the Host and
    Origin headers are then checked against listen.origins.OriginPolicy.
    """
    endpoints = [each for each in ENDPOINTS if _is_enabled(each, config)]
    app = Starlette(
        routes=[route for each in endpoints for route in _routes(each)],
        exception_handlers={
            HTTPException: _http_error,
            ClientGoneError: _client_gone,
            Exception: _error,
            **dict.fromkeys((ApiError, HeadraceError), _error),
        },
    )
    app.router.redirect_slashes = False
    app.state.pool = pool
    app.state.config = config
    app.state.metrics = metrics
    app.state.endpoints = endpoints
    app.state.large_body_slot = asyncio.Semaphore(1)
    protected = _protect(app, config, open_paths(endpoints), on_loopback)
    observers = _observers(config, metrics, tracer)
    tracked = RequestTracker(
        protected, app.routes, observers, sends_id=config.enable_request_id_headers
    )
    return RootPathMiddleware(tracked, config.root_path) if config.root_path else tracked


def _is_enabled(endpoint: Endpoint, config: ServerConfig) -> bool:
    return endpoint.enabled_by is None or bool(getattr(config, endpoint.enabled_by))


def _routes(endpoint: Endpoint) -> list[Route]:
    return [
        Route(path, endpoint.handler, methods=list(endpoint.methods))
        for path in endpoint.route_paths
    ]


def _protect(
    app: Starlette, config: ServerConfig, open_paths: frozenset[str], on_loopback: bool
) -> ASGIApp:
    """Wrap the application in the middleware, outside Starlette's own, so that responses to
    unexpected errors have CORS headers too."""
    protected: ASGIApp = app
    if config.api_key:
        protected = AuthMiddleware(protected, config.api_key, open_paths)
    elif on_loopback:
        policy = OriginPolicy(config.allowed_hosts, config.allowed_origins)
        protected = OriginGuard(protected, policy, host_or_origin_not_allowed)
    return CorsMiddleware(protected, config, open_paths)


def _observers(
    config: ServerConfig, metrics: MetricsPage, tracer: RequestTracer | None
) -> list[RequestObserver]:
    """What is called at the end of each request."""
    observers: list[RequestObserver] = [metrics.on_http_request]
    if config.access_log:
        observers.append(log_request)
    if tracer is not None:
        observers.append(tracer.export)
    return observers


async def _error(request: Request, error: Exception) -> Response:
    api_error = to_api_error(error)
    if isinstance(error, ContextLengthError):
        endpoints: list[Endpoint] = request.app.state.endpoints
        handler = request.scope.get("endpoint")
        fields = (each.prompt_field for each in endpoints if each.handler is handler)
        api_error.param = next(fields, api_error.param)
    return to_response(api_error)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return to_response(unknown_url(request.method, request.url.path))
    if status == 405 and isinstance(error, HTTPException):
        allowed = (error.headers or {}).get("Allow", "")
        return to_response(wrong_method(request.method, request.url.path, allowed))
    return to_response(error)


async def _client_gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # not sent; recorded in the access log
