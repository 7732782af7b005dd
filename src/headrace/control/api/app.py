"""The control plane's API as an ASGI application: routes, authorization and error responses."""

from collections.abc import Mapping
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from headrace.control.api.auth import authorize
from headrace.control.api.body_limit import BodyLimit
from headrace.control.api.context import Context, ContextDep
from headrace.control.api.responses import ErrorView
from headrace.control.api.routes import (
    events,
    gateways,
    keys,
    replicas,
    requests,
    revisions,
    runs,
    secrets,
    services,
    tokens,
)
from headrace.control.errors import (
    ConflictError,
    GatewayUnavailableError,
    InvalidNameError,
    NotFoundError,
    StoreError,
)
from headrace.control.manifests.parsing.problems import ManifestError
from headrace.control.manifests.schema import ManifestKind, json_schema
from headrace.control.monitoring.metrics import CONTENT_TYPE
from headrace.control.store.columns import storable
from headrace.core.errors import HeadraceError
from headrace.listen.origin_guard import OriginGuard
from headrace.version import __version__

_STATUSES: dict[type[HeadraceError], int] = {
    NotFoundError: 404,
    ConflictError: 409,
    ManifestError: 422,
    InvalidNameError: 422,
    StoreError: 503,
    GatewayUnavailableError: 503,
}
"""Other errors of Headrace are 400."""

_TYPES: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "payload_too_large",
    421: "host_not_allowed",
    422: "invalid_request",
    500: "internal_error",
    503: "unavailable",
}
"""Of errors without a code of their own."""

_ERRORS: Mapping[int | str, str] = {
    400: "The request is invalid.",
    401: "The token is missing or invalid.",
    403: "The token's role or the page's origin does not allow it.",
    404: "Not found.",
    405: "The method is not allowed.",
    409: "The current state does not allow it.",
    413: "The request is too large.",
    421: "The host name is not allowed.",
    422: "The request, or the manifest in it, is invalid.",
    503: "The database or the gateway is unavailable, or too many logs are being followed.",
}
_MAX_NUM_REASONS = 20


def build_app(context: Context) -> FastAPI:
    """The application. All routes except health, metrics and documentation require a token;
    requests from foreign hosts and origins are refused."""
    app = FastAPI(
        title="Headrace control plane",
        version=__version__,
        description="Services, revisions, gateways and runs.",
        generate_unique_id_function=lambda route: route.name,
        responses={
            status: {"model": ErrorView, "description": description}
            for status, description in _ERRORS.items()
        },
    )
    app.state.context = context
    app.add_api_route("/health", _health, name="read_health", tags=["health"])
    app.add_api_route(
        "/metrics",
        _metrics,
        name="read_metrics",
        tags=["health"],
        response_class=PlainTextResponse,
    )
    for module in (
        services,
        revisions,
        gateways,
        replicas,
        keys,
        runs,
        events,
        requests,
        secrets,
        tokens,
    ):
        app.include_router(module.router, prefix="/v1", dependencies=[Depends(authorize)])
    app.add_api_route(
        "/v1/schemas/{kind}",
        _read_schema,
        name="read_schema",
        tags=["schemas"],
        dependencies=[Depends(authorize)],
    )
    app.add_exception_handler(HeadraceError, _on_known_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_surprise)
    app.add_middleware(BodyLimit, refuse=_error)
    app.add_middleware(OriginGuard, policy=context.origins, refuse=_error)
    return app


def _health() -> dict[str, str]:
    """Whether the control plane is up."""
    return {"status": "ok"}


def _metrics(context: ContextDep) -> Response:
    """Prometheus metrics."""
    return Response(context.expose_metrics(), headers={"content-type": CONTENT_TYPE})


def _read_schema(kind: ManifestKind) -> dict[str, Any]:
    """The JSON schema of a manifest, for editors: ``revision``, ``gateway`` or ``run``."""
    return json_schema(kind)


def _on_known_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HeadraceError)
    status = next((code for kind, code in _STATUSES.items() if isinstance(error, kind)), 400)
    return _error(status, str(error), kind=error.code)


def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, str(error.detail), headers=dict(error.headers or {}))


def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    reasons = [
        f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}"
        for one in error.errors()[:_MAX_NUM_REASONS]
    ]
    return _error(422, "\n".join(reasons))


def _on_surprise(request: Request, error: Exception) -> Response:
    return _error(500, "Internal error of the control plane. See its log.")


def _error(
    status: int,
    message: str,
    *,
    kind: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    # A message may quote input with a lone surrogate, which UTF-8 cannot encode.
    content = {
        "error": {
            "message": storable(message),
            "type": kind or _TYPES.get(status, "error"),
            "code": status,
        }
    }
    return JSONResponse(content, status, headers)
