"""The values of parameters that are written as plain text, as JSON of the types that their schemas
allow."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

JsonSchema = Mapping[str, Any]

ToolSchemas = Mapping[str, JsonSchema]
"""The schemas of the parameters, by the names of the request's tools."""

_WORDS = {"True": "true", "False": "false", "None": "null"}


def properties_of(schema: JsonSchema | None) -> Mapping[str, Any]:
    """The schemas of a tool's parameters, by name."""
    properties = (schema or {}).get("properties")
    return properties if isinstance(properties, dict) else {}


def takes_text(schema: Any) -> bool:
    """Whether a value can only be a string, so that its text is one whatever it is."""
    return set(_types(schema)) == {"string"}


def json_of(text: str, schema: Any) -> str:
    """The JSON of a value that is written as this text."""
    written = _WORDS.get(text, text)
    types = set(_types(schema))
    try:
        value = json.loads(written, parse_constant=_reject)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    if "string" in types and not (value is None and "null" in types):
        return json.dumps(text, ensure_ascii=False)
    return written


def _reject(word: str) -> Any:
    raise ValueError(word)


def _types(schema: Any) -> Iterator[str]:
    """The types that a schema names."""
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    yield from [kind] if isinstance(kind, str) else kind if isinstance(kind, list) else []
    if kind is None:
        for key in ("enum", "const"):
            values = schema.get(key)
            for value in values if isinstance(values, list) else [values]:
                if isinstance(value, str):
                    yield "string"
        for key in ("anyOf", "oneOf"):
            members = schema.get(key)
            for each in members if isinstance(members, list) else []:
                yield from _types(each)
