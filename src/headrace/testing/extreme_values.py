"""The values of a JSON schema that programs forget: numbers at their extremes, lists at their
bounds, texts that are hardly texts, and wrong types.

Values are JSON texts, as some of them (1e999, half of a surrogate pair) are nothing in Python.
Knows the parts of JSON Schema that pydantic writes.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

Schema = Mapping[str, Any]

_INTEGERS = ("0", "1", "-1", "7", "2147483647", "2147483648", "-2147483649", "1" + "0" * 17)
_HUGE_INTEGERS = (str(2**63), str(-(2**63) - 1), str(2**64), "9" * 400)
_NUMBERS = (
    "0.5",
    "-0.0",
    "5e-324",
    "1e-46",
    "1e-30",
    "1e-5",
    "99.9",
    "1.7e308",
    "-1.7e308",
    "1e999",
)
_TEXTS = ('""', '"a"', '" "', '"\\u0000"', '"\\ud800"', '"\\ud83e\\udd8a"', '"</s>"', '"\ufffd"')
_KEYS = ("0", "1", "-1", "319", "320", "2147483648", "9" * 30, "1e3", "x", "")
_WRONG_TYPES = ("null", "true", "-1", "0.1", '"x"', "[]", "{}", "[null]", "[" * 200 + "]" * 200)
_MANY = 300
_LONG = 10_000
"""For lists and texts that have no bound of their own."""


def extreme_values(schema: Schema, definitions: Mapping[str, Schema]) -> list[str]:
    """JSON texts for this schema, valid ones and such as are just not valid, each once.

    definitions: what ``#/components/schemas/`` holds.
    """
    return _once([*_values(schema, definitions, depth=2), *_WRONG_TYPES])


def _values(schema: Schema, definitions: Mapping[str, Schema], depth: int) -> list[str]:
    reference = schema.get("$ref")
    if reference is not None:
        return _values(definitions[reference.rsplit("/", 1)[1]], definitions, depth)
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return [text for each in schema[key] for text in _values(each, definitions, depth)]
    if "const" in schema:
        return [json.dumps(schema["const"])]
    if "enum" in schema:
        return [json.dumps(each) for each in schema["enum"]]
    match schema.get("type"):
        case "null":
            return ["null"]
        case "boolean":
            return ["true", "false"]
        case "integer":
            return [*_INTEGERS, *_HUGE_INTEGERS, *_number_bounds(schema)]
        case "number":
            return [*_INTEGERS, *_NUMBERS, *_HUGE_INTEGERS, *_number_bounds(schema)]
        case "string":
            return [*_TEXTS, *(json.dumps("a" * size) for size in _sizes(schema, "Length", _LONG))]
        case "array":
            return _arrays(schema, definitions, depth)
        case "object":
            return _objects(schema, definitions, depth)
    return []  # anything is allowed, the wrong types too


def _number_bounds(schema: Schema) -> list[str]:
    keys = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    bounds = [schema[key] for key in keys if key in schema]
    return [json.dumps(bound + step) for bound in bounds for step in (-1, 0, 1)]


def _sizes(schema: Schema, what: str, without_bound: int) -> list[int]:
    """At the bounds and one beyond them."""
    most = schema.get(f"max{what}")
    least = schema.get(f"min{what}", 0)
    return [max(0, least - 1), least, *((without_bound,) if most is None else (most, most + 1))]


def _arrays(schema: Schema, definitions: Mapping[str, Schema], depth: int) -> list[str]:
    items = _values(schema.get("items", {}), definitions, depth - 1) if depth else []
    one = items[1:2] or ["1"]
    sized = ["[" + ",".join(one * size) + "]" for size in _sizes(schema, "Items", _MANY)]
    return [*sized, *(f"[{item}]" for item in items), f"[{','.join(items)}]"]


def _objects(schema: Schema, definitions: Mapping[str, Schema], depth: int) -> list[str]:
    if not depth:
        return ["{}"]
    properties: Mapping[str, Schema] = schema.get("properties", {})
    required = dict.fromkeys(schema.get("required", ()), "null")
    for name in required:
        required[name] = next(iter(_values(properties[name], definitions, depth - 1)), "null")
    texts = [
        object_text({**required, name: value})
        for name, each in properties.items()
        for value in _values(each, definitions, depth - 1)
    ]
    more = schema.get("additionalProperties")
    if isinstance(more, Mapping):
        values = _values(more, definitions, depth - 1) or ["1"]
        texts += [object_text({**required, key: values[1 % len(values)]}) for key in _KEYS]
        texts += [object_text({**required, "1": value}) for value in values]
        most = schema.get("maxProperties", _MANY)
        for size in (most, most + 1):
            texts.append(object_text({str(key): values[1 % len(values)] for key in range(size)}))
    elif more:
        texts += [object_text({**required, "x": value}) for value in _WRONG_TYPES]
    return texts


def object_text(members: Mapping[str, str]) -> str:
    """An object of these members, whose values are JSON texts."""
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in members.items()) + "}"


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
