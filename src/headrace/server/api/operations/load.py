"""GET /load and /metrics."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.server.http.json_body import JsonObject, json_response
from headrace.server.model_pool.request_model import pool_of
from headrace.server.model_pool.slot import Slot
from headrace.server.reporting.metrics_page import CONTENT_TYPE, MetricsPage
from headrace.server.served_model import ServedModel


async def load(request: Request) -> Response:
    """How busy the engines are, together and for each model."""
    pool = pool_of(request)
    models = [_model_load(slot) for slot in pool.slots]
    return json_response(
        {
            "server_load": pool.num_unfinished,
            "num_running": sum(each["num_running"] for each in models),
            "num_waiting": sum(each["num_waiting"] for each in models),
            "kv_cache_usage": max(each["kv_cache_usage"] for each in models),
            "models": models,
        }
    )


async def metrics(request: Request) -> Response:
    page: MetricsPage = request.app.state.metrics
    return Response(page.expose(), headers={"content-type": CONTENT_TYPE})


def _model_load(slot: Slot[ServedModel]) -> JsonObject:
    stats = None if slot.model is None else slot.model.engine.stats
    return {
        "id": slot.name,
        "state": slot.state.value,
        "num_running": 0 if stats is None else stats.num_running,
        "num_waiting": 0 if stats is None else stats.num_waiting,
        "kv_cache_usage": 0.0 if stats is None else stats.kv_cache_usage,
        "num_waiting_for_load": len(slot.waiters),
        "load_phases": [
            {
                "name": phase.name,
                "seconds": None if phase.seconds is None else round(phase.seconds, 3),
                "done": phase.done,
                "total": phase.total,
            }
            for phase in slot.phases.values()
        ],
    }
