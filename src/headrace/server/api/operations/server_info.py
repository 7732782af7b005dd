"""GET /server_info: the configuration in use, without secrets."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from headrace.server.http.json_body import JsonObject, json_response
from headrace.server.model_pool.request_model import pool_of
from headrace.version import __version__


async def server_info(request: Request) -> Response:
    """Of the model that the query names, by default the first. It is not loaded for this."""
    pool = pool_of(request)
    slot = pool.find(request.query_params.get("model"))
    spec, served = pool.specs[slot.name], slot.model
    ready = None if served is None else served.engine.ready
    return json_response(
        {
            "version": __version__,
            "model": spec.engine.model,
            "served_model_names": pool.names_of(slot),
            "models": [each.name for each in pool.slots],
            "state": slot.state.value,
            "created": pool.created,
            "max_model_len": None if ready is None else ready.max_model_len,
            "num_blocks": None if ready is None else ready.num_blocks,
            "block_size": spec.engine.block_size if ready is None else ready.block_size,
            "vocab_size": None if ready is None else ready.vocab_size,
            "dtype": None if ready is None else ready.dtype,
            "settings": [
                {"name": name, "value": value, "reason": reason}
                for name, value, reason in (() if ready is None else ready.settings)
            ],
            "startup_phases": [
                {"name": name, "seconds": round(seconds, 3)}
                for name, seconds in (() if ready is None else ready.phases)
            ],
            "sampling_defaults": {} if served is None else served.sampling_defaults,
            "engine_config": public_options(spec.engine),
            "server_config": public_options(spec.server),
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
