"""GET /v1/models and /v1/models/{model_id}."""

from starlette.requests import Request
from starlette.responses import Response

from headrace.server.http.json_body import JsonObject, json_response
from headrace.server.served_model import ServedModel


async def list_models(request: Request) -> Response:
    served: ServedModel = request.app.state.served_model
    cards = [_model_card(served, name) for name in (*served.names, *served.adapters.names)]
    return json_response({"object": "list", "data": cards})


async def get_model(request: Request) -> Response:
    served: ServedModel = request.app.state.served_model
    name = request.path_params["model_id"]
    if not name:
        return await list_models(request)
    if name not in (*served.names, *served.adapters.names):
        name = name.removesuffix("/")
    served.resolve(name)
    return json_response(_model_card(served, name))


def _model_card(served: ServedModel, name: str) -> JsonObject:
    adapter = served.adapters.get(name)
    parent = None
    if adapter is not None:
        parent = adapter.module.base_model_name or served.names[0]
    return {
        "id": name,
        "object": "model",
        "created": served.created if adapter is None else adapter.created,
        "owned_by": "headrace",
        "root": served.model if adapter is None else adapter.module.path,
        "parent": parent,
        "max_model_len": served.engine.max_model_len,
        "dtype": served.engine.ready.dtype,
        "task": served.task,
    }
