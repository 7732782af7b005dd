"""GET /server_info: the configuration in use, without secrets."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from headrace.server.http.json_body import JsonObject, json_response
from headrace.server.served_model import ServedModel
from headrace.version import __version__


async def server_info(request: Request) -> Response:
    served: ServedModel = request.app.state.served_model
    ready = served.engine.ready
    return json_response(
        {
            "version": __version__,
            "model": served.model,
            "served_model_names": served.names,
            "created": served.created,
            "max_model_len": ready.max_model_len,
            "num_blocks": ready.num_blocks,
            "block_size": ready.block_size,
            "vocab_size": ready.vocab_size,
            "dtype": ready.dtype,
            "settings": [
                {"name": name, "value": value, "reason": reason}
                for name, value, reason in ready.settings
            ],
            "startup_phases": [
                {"name": name, "seconds": round(seconds, 3)} for name, seconds in ready.phases
            ],
            "sampling_defaults": served.sampling_defaults,
            "engine_config": public_options(served.engine.config),
            "server_config": public_options(served.config),
        }
    )


def public_options(config: Any) -> JsonObject:
    """The options of a config dataclass as JSON values: secrets are left out, and URLs have no
    user, password and query."""
    return {
        field.name: _public(getattr(config, field.name))
        for field in fields(config)
        if not field.metadata.get("secret")
    }


def _public(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _public(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_public(each) for each in value]
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        return parts._replace(
            netloc=parts.netloc.rpartition("@")[2], query="", fragment=""
        ).geturl()
    return value
