"""Schemas of tools without arguments that they do not describe."""

from collections.abc import Iterator, Mapping
from typing import Any

_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "prefixItems")
_SINGLE = ("items", "additionalProperties")
_COMBINING = frozenset(
    {
        *("$dynamicRef", "$recursiveRef", "$ref", "allOf", "dependentSchemas", "else", "if"),
        *("not", "oneOf", "then", "unevaluatedItems", "unevaluatedProperties"),
    }
)
"""Keywords whose schemas hold for the same value: a property that one does not describe may be
described by another. A ``$ref`` alone is none of them."""
_BESIDE = frozenset({"$ref", "anyOf", "const", "enum"})
"""They combine with ``properties`` beside them."""


def closed_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema, in which objects have only the properties that they describe, where it does not
    say otherwise. What is valid under it is valid under the given one.

    JSON Schema allows any further property, and small models write them without end. A schema that
    combines others stays as it is.
    """
    if any(_combines(each) for each in _schemas_in(schema)):
        return schema
    closed = _closed(schema)
    if schema.get("properties") == {} and "additionalProperties" not in schema:
        return {**closed, "additionalProperties": False}  # a tool without parameters
    return closed


def _schemas_in(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    inner: list[Any] = [schema.get(key) for key in _SINGLE]
    for key in _MAPS:
        if isinstance(found := schema.get(key), dict):
            inner += found.values()
    for key in _LISTS:
        if isinstance(found := schema.get(key), list):
            inner += found
    for each in inner:
        if isinstance(each, dict):
            yield from _schemas_in(each)


def _combines(schema: Mapping[str, Any]) -> bool:
    found = _COMBINING & schema.keys()
    describes = "properties" in schema
    return bool(found - {"$ref"}) or (describes and not _BESIDE.isdisjoint(schema))


def _closed(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    closed = dict(schema)
    for key in _MAPS:
        if isinstance(found := schema.get(key), dict):
            closed[key] = {name: _closed_value(each) for name, each in found.items()}
    for key in _LISTS:
        if isinstance(found := schema.get(key), list):
            closed[key] = [_closed_value(each) for each in found]
    for key in _SINGLE:
        if key in schema:
            closed[key] = _closed_value(schema[key])
    if _describes_all(schema):
        closed["additionalProperties"] = False
    return closed


def _closed_value(value: Any) -> Any:
    return _closed(value) if isinstance(value, dict) else value


def _describes_all(schema: Mapping[str, Any]) -> bool:
    properties, required = schema.get("properties"), schema.get("required", [])
    return (
        isinstance(properties, dict)
        and bool(properties)  # else an object of any kind
        and isinstance(required, list)
        and properties.keys() >= {each for each in required if isinstance(each, str)}
        and not schema.keys() & {"additionalProperties", "patternProperties", "minProperties"}
    )
