"""JSON schemas of the manifests, for editors, generated from the models."""

from collections.abc import Mapping
from typing import Any, Literal

from headrace.control.manifests.compat.alternative_shapes import RESOURCE_KEYS
from headrace.control.manifests.compat.key_aliases import (
    INTERACTIVE_MOVES,
    SERVICE_MOVES,
    VOLUME_MOVES,
    Moves,
)
from headrace.control.manifests.gateway import GatewaySpec
from headrace.control.manifests.parsing.manifest_model import ManifestModel, NoEffect, key_of
from headrace.control.manifests.revision import RevisionSpec
from headrace.control.manifests.run import RunSpec

ManifestKind = Literal["revision", "gateway", "run"]

_MODELS: Mapping[ManifestKind, type[ManifestModel]] = {
    "revision": RevisionSpec,
    "gateway": GatewaySpec,
    "run": RunSpec,
}

_MOVES: Mapping[ManifestKind, Moves] = {
    "revision": {**SERVICE_MOVES, **VOLUME_MOVES},
    "gateway": {},
    "run": {**INTERACTIVE_MOVES, **VOLUME_MOVES},
}

_EXAMPLES: Mapping[ManifestKind, list[dict[str, Any]]] = {
    "revision": [
        {
            "message": "SmolLM2 on one CPU",
            "model": "smollm2-135m",
            "args": "--max-model-len 2048",
            "autoscaling": {"min": 1, "max": 3, "metric": "concurrency", "target": 8},
        },
        {
            "message": "A server of my own",
            "run": [{"command": "python server.py --port 3000", "workdir": "/srv/mine"}],
            "ports": [{"port": 3000, "name": "api", "type": "http"}],
            "env": {"LOG_LEVEL": "info", "HF_TOKEN": {"secret": "hf-token"}},
            "service": {"expose": 3000, "autoscaling": {"min": 0, "max": 2}},
        },
    ],
    "gateway": [
        {
            "enabled": True,
            "targets": [
                {"number": 1, "port": 3000, "weight": 50},
                {"number": 2, "port": 3000, "weight": 50},
            ],
        }
    ],
    "run": [
        {
            "name": "evaluate",
            "import": {"/code/": {"git": {"url": "github.com/example/evaluation", "ref": "main"}}},
            "run": [{"command": "python evaluate.py --out /results", "workdir": "/code"}],
            "export": {"/results/": "artifact://evaluation"},
            "max_runtime": "2h",
        }
    ],
}


_OTHER_SHAPES: Mapping[str, dict[str, Any]] = {
    "ImageSpec": {"type": "string"},
    "Artifact": {"type": "string"},
    "StickySpec": {"const": "user"},
}
"""Models that may also be written as something else than a mapping."""

_OTHER_KEYS: Mapping[str, dict[str, dict[str, Any]]] = {
    "ResourcesSpec": {
        **{other: {"description": f"Means `{key}`."} for other, key in RESOURCE_KEYS.items()},
        "requests": {"type": "object", "description": "Its keys may stand here too."},
        "spec": {
            "type": ["object", "string"],
            "description": "Its keys may stand here too; a string means `name`.",
        },
    },
    "CommandSpec": {"wait": {"description": "Every step waits for the one before."}},
    "ReadinessSpec": {"type": {"enum": ["http", "tcp"]}},
    "EnvValue": {
        "secret": {
            "type": ["string", "boolean"],
            "description": "Name of a secret; beside `value`, true hides the value.",
        },
        "value": {"type": ["string", "number", "boolean"]},
        "source": {"description": "Not needed: `value` or `secret` says it."},
    },
    "Artifact": {"organization_name": {"type": "string"}, "project_name": {"type": "string"}},
}
"""Keys that a model reads besides its fields."""

_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
"""As pydantic leaves them where a value may also be text; JSON schema applies them to numbers."""


def json_schema(kind: ManifestKind) -> dict[str, Any]:
    """The schema (draft 2020-12) of the file as people write it, every accepted shape included."""
    model = _MODELS[kind]
    schema = model.model_json_schema(by_alias=True, mode="validation")
    _mark_no_effect(model, schema)
    _add_other_keys(schema)
    _add_other_places(schema, _MOVES[kind])
    _add_other_shapes(schema)
    if "run" in model.model_fields:
        schema["anyOf"] = [{"required": ["run"]}, {"required": ["model"]}]
    plain: dict[str, Any] = _with_plain_bounds(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **plain,
        "title": f"Headrace {kind}",
        "examples": _EXAMPLES[kind],
    }


def _mark_no_effect(model: type[ManifestModel], schema: dict[str, Any]) -> None:
    """Descriptions for the keys that are accepted and ignored, at any depth."""
    by_name: dict[str, type[ManifestModel]] = {
        found.__name__: found for found in _all_models(ManifestModel)
    }
    described = [(model, schema)]
    described += [
        (by_name[name], definition)
        for name, definition in schema.get("$defs", {}).items()
        if name in by_name
    ]
    for owner, definition in described:
        for name, field in owner.model_fields.items():
            why = next((mark.why for mark in field.metadata if isinstance(mark, NoEffect)), None)
            properties = definition.get("properties", {})
            if why is not None and key_of(name, field) in properties:
                text = f"Accepted without effect: {why}."
                described_as = f"{field.description} {text}" if field.description else text
                properties[key_of(name, field)]["description"] = described_as


def _all_models(model: type[ManifestModel]) -> list[type[ManifestModel]]:
    children = model.__subclasses__()
    return [*children, *(inner for child in children for inner in _all_models(child))]


def _add_other_keys(schema: dict[str, Any]) -> None:
    for name, keys in _OTHER_KEYS.items():
        if name in schema["$defs"]:
            schema["$defs"][name]["properties"] |= keys


def _add_other_shapes(schema: dict[str, Any]) -> None:
    for name, shape in _OTHER_SHAPES.items():
        definition = schema["$defs"].get(name)
        if definition is not None:
            description = definition.get("description", "")
            schema["$defs"][name] = {"anyOf": [shape, definition], "description": description}


def _with_plain_bounds(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_with_plain_bounds(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        _BOUNDS.get(key, key) if isinstance(value, int | float) else key: _with_plain_bounds(value)
        for key, value in schema.items()
    }


def _add_other_places(schema: dict[str, Any], moves: Moves) -> None:
    properties = schema["properties"]
    for source, target in moves.items():
        holder = properties
        if len(source) == 2:
            section = properties.setdefault(
                str(source[0]), {"type": "object", "properties": {}, "additionalProperties": False}
            )
            holder = _section_of(schema, section)["properties"]
        holder[str(source[-1])] = properties[str(target[0])]


def _section_of(schema: dict[str, Any], section: dict[str, Any]) -> dict[str, Any]:
    """The object that a property means, behind ``anyOf`` and ``$ref``."""
    for choice in section.get("anyOf", [section]):
        if "$ref" in choice:
            found: dict[str, Any] = schema["$defs"][choice["$ref"].rpartition("/")[2]]
            return found
        if choice.get("type") == "object":
            return dict(choice) if choice is not section else section
    return section
