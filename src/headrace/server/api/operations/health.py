"""GET /, /health, /ping and /version."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import HeadraceError
from headrace.server.http.errors import to_api_error, to_response
from headrace.server.http.json_body import json_response
from headrace.server.model_pool.request_model import pool_of
from headrace.version import __version__


async def root(request: Request) -> Response:
    """A summary for people who open the address in a browser."""
    names = [slot.name for slot in pool_of(request).slots]
    return json_response(
        {
            "message": f"Headrace {__version__} serves {', '.join(names)}.",
            "api": "/v1",
            "docs": "/docs",
            "openapi": "/openapi.json",
            "metrics": "/metrics",
        }
    )


async def health(request: Request) -> Response:
    """200 if new requests are accepted; 503 if the server drains or the engine has failed."""
    try:
        pool_of(request).check_accepting()
    except HeadraceError as error:
        api_error = to_api_error(error)
        api_error.status = 503
        return to_response(api_error)
    return json_response({"status": "ok"})


async def version(_: Request) -> Response:
    return json_response({"version": __version__})
