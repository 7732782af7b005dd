"""Schemas of /v1/load_lora_adapter and /v1/unload_lora_adapter, compatible with vLLM's."""

from pydantic import Field

from headrace.server.adapters import MAX_NAME_LENGTH
from headrace.server.http.body_model import ClosedBodyModel

_NAME = Field(max_length=MAX_NAME_LENGTH, description="The adapter's name: `model` of requests.")


class LoadLoraAdapterRequest(ClosedBodyModel):
    """POST /v1/load_lora_adapter."""

    lora_name: str = _NAME
    lora_path: str = Field(
        min_length=1,
        max_length=4096,
        pattern=r"^[^\x00]*$",
        description="A directory on the server, in PEFT's layout.",
    )
    load_inplace: bool | None = Field(
        None, description="Replace the adapter of this name, if there is one."
    )


class UnloadLoraAdapterRequest(ClosedBodyModel):
    """POST /v1/unload_lora_adapter."""

    lora_name: str = _NAME
    lora_int_id: int | None = Field(
        None, ge=0, le=2**63 - 1, description="Ignored: names are unique here."
    )
