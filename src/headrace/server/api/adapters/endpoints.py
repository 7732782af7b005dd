"""POST /v1/load_lora_adapter and /v1/unload_lora_adapter."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from headrace.core.errors import InvalidParameterError
from headrace.server.adapters import LoraModule
from headrace.server.api.adapters.schemas import LoadLoraAdapterRequest, UnloadLoraAdapterRequest
from headrace.server.http.errors import unknown_model
from headrace.server.http.json_body import read_json
from headrace.server.model_pool.request_model import config_of, pool_of, serve_model
from headrace.server.served_model import ServedModel


async def load_lora_adapter(request: Request) -> Response:
    """Load an adapter from a directory of this machine.

    Raises ApiError, HeadraceError or ClientGoneError.
    """
    body = await read_json(request, LoadLoraAdapterRequest, config_of(request).max_body_size)
    served = await _only_model(request)
    module = LoraModule(body.lora_name, body.lora_path)
    await served.adapters.load(module, replace=bool(body.load_inplace))
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")


async def unload_lora_adapter(request: Request) -> Response:
    """Unload an adapter; its unfinished requests go on.

    Raises ApiError, HeadraceError or ClientGoneError.
    """
    body = await read_json(request, UnloadLoraAdapterRequest, config_of(request).max_body_size)
    served = await _only_model(request)
    if not served.adapters.unload(body.lora_name):
        raise unknown_model(body.lora_name, served.adapters.names, param="lora_name")
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")


async def _only_model(request: Request) -> ServedModel:
    """The model that adapters are of; raises InvalidParameterError if the server has several."""
    if len(pool_of(request).slots) > 1:
        raise InvalidParameterError(
            "lora_name",
            "this server has several models; name their adapters in --models-file (lora_modules)",
        )
    served = await serve_model(request, None)
    served.check_accepting()
    return served
