"""GET /v1/models and /v1/models/{model_id}."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.server.http.json_body import JsonObject, json_response
from headrace.server.model_pool.request_model import pool_of
from headrace.server.model_pool.served_models import ServedModels
from headrace.server.model_pool.slot import Slot
from headrace.server.served_model import ServedModel


async def list_models(request: Request) -> Response:
    pool = pool_of(request)
    cards = [_model_card(pool, slot, name) for slot in pool.slots for name in pool.names_of(slot)]
    return json_response({"object": "list", "data": cards})


async def get_model(request: Request) -> Response:
    pool = pool_of(request)
    name = request.path_params["model_id"]
    if not name:
        return await list_models(request)
    if name not in pool.names:
        name = name.removesuffix("/")
    return json_response(_model_card(pool, pool.find(name), name))


def _model_card(pool: ServedModels, slot: Slot[ServedModel], name: str) -> JsonObject:
    served = slot.model
    adapter = pool.adapter_of(slot, name)
    loaded = None if served is None else served.adapters.get(name)
    parent = None
    if adapter is not None:
        parent = adapter.base_model_name or slot.name
    return {
        "id": name,
        "object": "model",
        "created": pool.created if loaded is None else loaded.created,
        "owned_by": "headrace",
        "root": pool.specs[slot.name].engine.model if adapter is None else adapter.path,
        "parent": parent,
        "max_model_len": None if served is None else served.engine.max_model_len,
        "dtype": None if served is None else served.engine.ready.dtype,
        "task": None if served is None else served.task,
        "state": slot.state.value,
    }
