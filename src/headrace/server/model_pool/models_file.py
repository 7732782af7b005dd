"""--models-file: the server's models, with names and options of their own."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from headrace.core.errors import InvalidInputError, InvalidParameterError
from headrace.engine.config import EngineConfig
from headrace.server.config import ServerConfig
from headrace.server.model_pool.spec import ModelSpec

_NAMES = ("model", "name", "aliases")
_ENGINE_KEYS = frozenset(
    field.name
    for field in fields(EngineConfig)
    if "help" in field.metadata and field.name != "max_loaded_models"
)
_SERVER_KEYS = frozenset(
    {
        "chat_template",
        "generation_config",
        "lora_modules",
        "reasoning_parser",
        "sampling_defaults",
        "tool_call_parser",
        "trust_request_chat_template",
    }
)
"""Options of the server that each model may have."""


def read_models_file(file: Path, engine: EngineConfig, server: ServerConfig) -> list[ModelSpec]:
    """The models of a YAML file in its order. ``engine`` and ``server`` have the options that a
    model does not set.

    Raises InvalidInputError.
    """
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(f"Cannot read --models-file {file}: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"--models-file {file} is not valid YAML: {error}") from None
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, list) or not models or set(document) != {"models"}:
        raise InvalidInputError(f"--models-file {file} must have the key models: a list of models.")
    return [
        _spec(f"--models-file {file}: models[{index}]", entry, engine, server)
        for index, entry in enumerate(models)
    ]


def _spec(at: str, entry: Any, engine: EngineConfig, server: ServerConfig) -> ModelSpec:
    if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry):
        raise InvalidInputError(f"{at} must be a mapping with the key model.")
    values: dict[str, Any] = {key.replace("-", "_"): value for key, value in entry.items()}
    known = {*_NAMES, *_ENGINE_KEYS, *_SERVER_KEYS}
    for key in entry:
        if key.replace("-", "_") not in known:
            raise InvalidInputError(f"{at}.{key} is not a key of a model.")
    if isinstance(values.get("lora_modules"), list):
        values["lora_modules"] = tuple(values["lora_modules"])
    model = _text(at, "model", values)
    names = (_text(at, "name", values) if "name" in values else model, *_aliases(at, values))
    try:
        return ModelSpec(
            engine=replace(engine, model=model, **_part(values, _ENGINE_KEYS)),
            server=replace(server, served_model_name=names, **_part(values, _SERVER_KEYS)),
        )
    except InvalidParameterError as error:
        key = "name" if error.param == "served_model_name" else error.param
        rule = str(error).removeprefix(f"{error.param}: ")
        raise InvalidInputError(f"{at}.{key} {rule}.") from None


def _text(at: str, key: str, values: Mapping[str, Any]) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InvalidInputError(f"{at}.{key} must be a text.")
    return value


def _aliases(at: str, values: Mapping[str, Any]) -> list[str]:
    aliases = values.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(each, str) for each in aliases):
        raise InvalidInputError(f"{at}.aliases must be a list of texts.")
    return aliases


def _part(values: Mapping[str, Any], keys: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in keys}
