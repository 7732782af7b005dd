"""POST /v1/load_lora_adapter and /v1/unload_lora_adapter."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from headrace.server.adapters import LoraModule
from headrace.server.api.adapters.schemas import LoadLoraAdapterRequest, UnloadLoraAdapterRequest
from headrace.server.http.errors import unknown_model
from headrace.server.http.json_body import read_json
from headrace.server.served_model import ServedModel


async def load_lora_adapter(request: Request) -> Response:
    """Load an adapter from a directory of this machine.

    Raises ApiError, HeadraceError or ClientGoneError.
    """
    served: ServedModel = request.app.state.served_model
    body = await read_json(request, LoadLoraAdapterRequest, served.config.max_body_size)
    served.check_accepting()
    module = LoraModule(body.lora_name, body.lora_path)
    await served.adapters.load(module, replace=bool(body.load_inplace))
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")


async def unload_lora_adapter(request: Request) -> Response:
    """Unload an adapter; its unfinished requests go on.

    Raises ApiError, HeadraceError or ClientGoneError.
    """
    served: ServedModel = request.app.state.served_model
    body = await read_json(request, UnloadLoraAdapterRequest, served.config.max_body_size)
    served.check_accepting()
    if not served.adapters.unload(body.lora_name):
        raise unknown_model(body.lora_name, served.adapters.names, param="lora_name")
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")
