"""GET /load and /metrics."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.server.http.json_body import json_response
from headrace.server.reporting.metrics import CONTENT_TYPE
from headrace.server.served_model import ServedModel


async def load(request: Request) -> Response:
    """How busy the engine is."""
    served: ServedModel = request.app.state.served_model
    stats = served.engine.stats
    return json_response(
        {
            "server_load": served.engine.num_unfinished,
            "num_running": stats.num_running,
            "num_waiting": stats.num_waiting,
            "kv_cache_usage": stats.kv_cache_usage,
        }
    )


async def metrics(request: Request) -> Response:
    served: ServedModel = request.app.state.served_model
    return Response(served.metrics.expose(), headers={"content-type": CONTENT_TYPE})
