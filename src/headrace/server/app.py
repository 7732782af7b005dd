"""The ASGI application: routes, middleware, error handlers and the operational endpoints."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from headrace.core.errors import ContextLengthError, HeadraceError
from headrace.listen.origin_guard import OriginGuard
from headrace.listen.origins import OriginPolicy
from headrace.server.api.chat.endpoint import chat_completions
from headrace.server.api.completions import completions
from headrace.server.api.models import get_model, list_models
from headrace.server.api.pooling.embeddings import classify, embeddings, pooling
from headrace.server.api.pooling.scoring import rerank, score
from headrace.server.config import ServerConfig
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
from headrace.server.http.json_body import json_response
from headrace.server.http.request_tracker import RequestObserver, RequestTracker
from headrace.server.openapi import build_openapi
from headrace.server.reporting.logs import log_request
from headrace.server.reporting.metrics import CONTENT_TYPE as METRICS_CONTENT_TYPE
from headrace.server.served_model import ServedModel
from headrace.version import __version__

_SCORE_PATHS = ("/v1/score", "/score")
_RERANK_PATHS = ("/v1/rerank", "/v2/rerank", "/rerank")
_PROMPT_FIELDS = {
    "/chat/completions": "messages",
    "/embeddings": "input",
    "/pooling": "input",
    "/classify": "input",
    "/score": "text_2",
    "/rerank": "documents",
}
"""The field with the prompt, by the end of the path; ``prompt`` elsewhere."""


def create_app(served: ServedModel, *, on_loopback: bool) -> ASGIApp:
    """The ASGI application for one model.

    on_loopback: the socket is reachable from this machine only. Without API keys, the Host and
    Origin headers are then checked against listen.origins.OriginPolicy.
    """
    app = Starlette(
        routes=[
            *_route("/", root),
            *_route("/health", health),
            *_route("/version", version),
            *_route("/metrics", metrics),
            *_route("/openapi.json", openapi),
            *_route("/v1/models", list_models),
            Route("/v1/models/{model_id:path}", get_model),
            *_route("/v1/completions", completions, "POST"),
            *_route("/v1/chat/completions", chat_completions, "POST"),
            *_route("/v1/embeddings", embeddings, "POST"),
            *_route("/pooling", pooling, "POST"),
            *_route("/classify", classify, "POST"),
            *(each for path in _SCORE_PATHS for each in _route(path, score, "POST")),
            *(each for path in _RERANK_PATHS for each in _route(path, rerank, "POST")),
        ],
        exception_handlers={
            HTTPException: _http_error,
            ClientGoneError: _client_gone,
            Exception: _error,
            **dict.fromkeys((ApiError, HeadraceError), _error),
        },
    )
    app.router.redirect_slashes = False
    app.state.served_model = served
    app.state.large_body_slot = asyncio.Semaphore(1)
    protected = _protect(app, served.config, on_loopback)
    return RequestTracker(protected, app.routes, _observers(served))


def _route(
    path: str, endpoint: Callable[[Request], Awaitable[Any]], method: str = "GET"
) -> list[Route]:
    """A path with and without a trailing slash. (A redirect would name the wrong host behind a
    proxy, and some clients do not resend the body.)"""
    paths = dict.fromkeys((path, path.rstrip("/") + "/"))
    return [Route(each, endpoint, methods=[method]) for each in paths]


def _protect(app: Starlette, config: ServerConfig, on_loopback: bool) -> ASGIApp:
    """Wrap the application in the middleware, outside Starlette's own, so that responses to
    unexpected errors have CORS headers too."""
    protected: ASGIApp = app
    if config.api_key:
        protected = AuthMiddleware(protected, config.api_key)
    elif on_loopback:
        policy = OriginPolicy(config.allowed_hosts, config.allowed_origins)
        protected = OriginGuard(protected, policy, host_or_origin_not_allowed)
    return CorsMiddleware(protected, config)


def _observers(served: ServedModel) -> list[RequestObserver]:
    """What is called at the end of each request."""
    observers: list[RequestObserver] = [served.metrics.on_http_request]
    if served.config.access_log:
        observers.append(log_request)
    if served.tracer is not None:
        observers.append(served.tracer.export)
    return observers


async def root(request: Request) -> Response:
    """A summary for people who open the address in a browser."""
    served = _served_model(request)
    return json_response(
        {
            "message": f"Headrace {__version__} serves {served.names[0]}.",
            "api": "/v1",
            "openapi": "/openapi.json",
            "metrics": "/metrics",
        }
    )


async def health(request: Request) -> Response:
    """200 if new requests are accepted; 503 if the server drains or the engine has failed."""
    served = _served_model(request)
    try:
        served.check_accepting()
    except HeadraceError as error:
        api_error = to_api_error(error)
        api_error.status = 503
        return to_response(api_error)
    return json_response({"status": "ok"})


async def version(_: Request) -> Response:
    return json_response({"version": __version__})


async def metrics(request: Request) -> Response:
    text = _served_model(request).metrics.expose()
    return Response(text, headers={"content-type": METRICS_CONTENT_TYPE})


async def openapi(request: Request) -> Response:
    return json_response(build_openapi(with_keys=bool(_served_model(request).config.api_key)))


def _served_model(request: Request) -> ServedModel:
    served: ServedModel = request.app.state.served_model
    return served


async def _error(request: Request, error: Exception) -> Response:
    api_error = to_api_error(error)
    if isinstance(error, ContextLengthError):
        path = request.url.path.rstrip("/")
        fields = (field for end, field in _PROMPT_FIELDS.items() if path.endswith(end))
        api_error.param = next(fields, "prompt")
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
