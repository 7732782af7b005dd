"""POST /reset_prefix_cache."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.core.errors import InvalidParameterError
from headrace.server.http.json_body import json_response
from headrace.server.model_pool.request_model import pool_of

_UNSUPPORTED = ("reset_running_requests", "reset_external")
"""Query parameters of vLLM's endpoint."""
_FALSE = frozenset({"", "0", "false", "no", "off"})


async def reset_prefix_cache(request: Request) -> Response:
    """Empty the prefix caches of all loaded models. Requests in progress continue.

    Raises InvalidParameterError, EngineDeadError or EngineDrainingError.
    """
    pool = pool_of(request)
    for name in _UNSUPPORTED:
        if request.query_params.get(name, "").lower() not in _FALSE:
            raise InvalidParameterError(name, "is not supported; remove it")
    pool.check_accepting()
    for served in pool.models:
        served.engine.reset_prefix_cache()
    return json_response({"status": "ok"})
