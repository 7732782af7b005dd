"""The fields of a request's schema as rows of a table, for /docs and docs/api.md."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from pydantic import BaseModel

from headrace.server.api.schemas.differences import DIFFERENCES, REASONS
from headrace.server.api.schemas.pooling.requests import IGNORED_IN_POOLING, PoolingBody
from headrace.server.api.schemas.requests import GenerationRequest, Message
from headrace.server.api.schemas.unsupported_fields import (
    IGNORED,
    REFUSED_IN_MESSAGES,
    RefusedField,
)
from headrace.server.http.json_body import JsonObject


class Support(StrEnum):
    YES = "yes"
    DIFFERENT = "different"
    IGNORED = "ignored"
    """Accepted with any value, without effect."""
    NO = "no"
    """400, unless the value is neutral."""


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field of a body."""

    name: str
    support: Support
    values: str
    """Types and bounds, or the neutral values of a field that is not supported."""
    notes: str
    """What it does, how it differs, or what to do instead."""
    is_required: bool = False


def field_rows(model: type[BaseModel]) -> list[FieldRow]:
    """Supported fields in the order of their declaration, then ignored and unsupported ones."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    required = schema.get("required", ())
    rows = [
        _supported(model, name, schema["properties"][key], definitions, key in required)
        for name, key in _keys(model).items()
    ]
    refused: Mapping[str, RefusedField] = {}
    if issubclass(model, GenerationRequest):
        refused = model.refused
        rows += _ignored(IGNORED)
    elif issubclass(model, PoolingBody):
        refused = model.refused
        rows += _ignored(IGNORED_IN_POOLING)
    elif issubclass(model, Message):
        refused = REFUSED_IN_MESSAGES
    return rows + [_refused(field) for field in refused.values()]


def _keys(model: type[BaseModel]) -> dict[str, str]:
    """The key in a body of each field of the model."""
    return {name: field.alias or name for name, field in model.model_fields.items()}


def parent_of(
    model: type[BaseModel], models: Collection[type[BaseModel]]
) -> type[BaseModel] | None:
    """The one of these models that it extends; None: of none."""
    return next((each for each in model.__mro__[1:] if each in models), None)


def own_rows(model: type[BaseModel], models: Collection[type[BaseModel]]) -> list[FieldRow]:
    """The rows that its parent among these models does not have."""
    parent = parent_of(model, models)
    inherited = [] if parent is None else field_rows(parent)
    return [row for row in field_rows(model) if row not in inherited]


def nested_models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The models of objects in this body, each once."""
    found: dict[type[BaseModel], None] = {}
    for field in model.model_fields.values():
        for each in _models_in(field.annotation):
            found[each] = None
            found.update(dict.fromkeys(nested_models(each)))
    return list(found)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _supported(
    model: type[BaseModel],
    name: str,
    schema: JsonObject,
    definitions: JsonObject,
    is_required: bool,
) -> FieldRow:
    description = schema.get("description", "")
    difference = _difference(model, name)
    return FieldRow(
        _keys(model)[name],
        Support.DIFFERENT if difference else Support.YES,
        " or ".join(dict.fromkeys(_types(schema, definitions))) or "any value",
        " ".join(filter(None, (description, difference))),
        is_required,
    )


def _difference(model: type[BaseModel], name: str) -> str:
    """The row of this model or of the nearest of its base classes."""
    found = (DIFFERENCES.get((base, name)) for base in model.__mro__)
    return next((difference for difference in found if difference), "")


def _ignored(names: Iterable[str]) -> list[FieldRow]:
    return [
        FieldRow(name, Support.IGNORED, "any value", "Changes nothing here.")
        for name in sorted(names)
    ]


def _refused(field: RefusedField) -> FieldRow:
    neutral = " or ".join(f"`{orjson.dumps(value).decode()}`" for value in field.neutral)
    instead = field.instead or "remove it"
    notes = f"{REASONS.get(field.name, 'Not implemented')}; {instead}."
    return FieldRow(field.name, Support.NO, f"only {neutral}" if neutral else "", notes)


def _types(schema: JsonObject, definitions: JsonObject) -> Iterator[str]:
    """The types of a value, without null."""
    if "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _types(each, definitions)
    elif "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        target = definitions[name]
        if "enum" in target:
            yield from _types(target, definitions)
        else:
            yield name
    elif "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        yield from (f"`{orjson.dumps(each).decode()}`" for each in values if each is not None)
    elif schema.get("type") == "array":
        items = " or ".join(dict.fromkeys(_types(schema.get("items", {}), definitions)))
        yield f"list{_size(schema, 'Items')} of {items or 'any value'}"
    elif schema.get("type") == "object":
        yield f"object{_size(schema, 'Properties')}"
    elif schema.get("type") == "string":
        yield f"string{_size(schema, 'Length')}"
    elif schema.get("type") in ("integer", "number", "boolean"):
        yield schema["type"] + _range(schema)


def _size(schema: JsonObject, unit: str) -> str:
    low, high = schema.get(f"min{unit}"), schema.get(f"max{unit}")
    if high is None:
        return "" if low is None else f" (at least {low:,})"
    return f" (at most {high:,})" if low is None else f" ({low:,} to {high:,})"


def _range(schema: JsonObject) -> str:
    low = schema.get("minimum")
    high = schema.get("maximum")
    below = schema.get("exclusiveMaximum")
    if below in (2**31, 2**63):
        bits = 32 if below == 2**31 else 64
        if low == -below:
            return f" ({bits} bits)"
        high = below - 1 if low is None else None
    elif below is not None:
        high = below - 1
    if low is None:
        return "" if high is None else f" (at most {high:,})"
    return f" (at least {low:,})" if high is None else f" ({low:,} to {high:,})"
