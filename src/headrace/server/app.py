"""The routes of the server.

Knows which path leads where; what is done there is in each endpoint's own file.
"""

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.core.errors import ContextLengthError, HeadraceError
from headrace.server.auth import AuthMiddleware
from headrace.server.chat import chat_completions
from headrace.server.completions import completions
from headrace.server.errors import (
    ApiError,
    ClientGoneError,
    to_api_error,
    to_response,
    unknown_url,
    wrong_method,
)
from headrace.server.json_types import JsonObject
from headrace.server.openapi import build_openapi
from headrace.server.replying import json_response
from headrace.server.request_id import RequestIdMiddleware
from headrace.server.service import Service
from headrace.version import __version__


def create_app(service: Service) -> Starlette:
    """The ASGI application for one model."""
    app = Starlette(
        routes=[
            Route("/", root),
            Route("/health", health),
            Route("/version", version),
            Route("/metrics", metrics),
            Route("/openapi.json", openapi),
            Route("/v1/models", list_models),
            Route("/v1/models/{model_id:path}", get_model),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        ],
        middleware=[
            Middleware(RequestIdMiddleware),
            *(
                [Middleware(AuthMiddleware, api_keys=service.config.api_key)]
                if service.config.api_key
                else []
            ),
        ],
        exception_handlers={
            HTTPException: _http_error,
            ClientGoneError: _client_gone,
            Exception: _error,
            **dict.fromkeys((ApiError, HeadraceError, ValidationError), _error),
        },
    )
    app.state.service = service
    return app


async def root(request: Request) -> Response:
    """A word for whoever opens the address in a browser."""
    service = _service(request)
    return json_response(
        {
            "message": f"Headrace {__version__} serves {service.names[0]}.",
            "api": "/v1",
            "openapi": "/openapi.json",
            "metrics": "/metrics",
        }
    )


async def health(request: Request) -> Response:
    """200 while new requests are taken; 503 while draining and when the engine has failed."""
    service = _service(request)
    try:
        service.check_open()
    except HeadraceError as error:
        told = to_api_error(error)
        told.status = 503
        return to_response(told)
    return json_response({"status": "ok"})


async def version(_: Request) -> Response:
    return json_response({"version": __version__})


async def metrics(request: Request) -> Response:
    exposition = _service(request).metrics.expose(request.headers.get("accept", ""))
    return Response(exposition.body, headers={"content-type": exposition.content_type})


async def openapi(_: Request) -> Response:
    return json_response(build_openapi())


async def list_models(request: Request) -> Response:
    service = _service(request)
    return json_response(
        {"object": "list", "data": [_model_card(service, name) for name in service.names]}
    )


async def get_model(request: Request) -> Response:
    service = _service(request)
    name = request.path_params["model_id"]
    service.resolve(name)
    return json_response(_model_card(service, name))


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _model_card(service: Service, name: str) -> JsonObject:
    return {
        "id": name,
        "object": "model",
        "created": service.created,
        "owned_by": "headrace",
        "root": service.model,
        "parent": None,
        "max_model_len": service.engine.max_model_len,
        "dtype": service.engine.ready.dtype,
    }


async def _error(request: Request, error: Exception) -> Response:
    told = to_api_error(error)
    if isinstance(error, ContextLengthError) and request.url.path.endswith("/chat/completions"):
        told.param = "messages"
    return to_response(told)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return to_response(unknown_url(request.method, request.url.path))
    if status == 405 and isinstance(error, HTTPException):
        allowed = (error.headers or {}).get("Allow", "")
        return to_response(wrong_method(request.method, request.url.path, allowed))
    return to_response(error)


async def _client_gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the log may show it
