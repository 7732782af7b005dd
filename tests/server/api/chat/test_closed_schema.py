"""Schemas of tools without arguments that they do not describe."""

from typing import Any

import jsonschema_rs
from hypothesis import given
from hypothesis import strategies as st

from headrace.server.api.chat.closed_schema import closed_schema

NAMES = st.sampled_from("abc")
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, 1, "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(NAMES, inner, max_size=2)
    optional = {
        "required": st.lists(NAMES, max_size=2, unique=True),
        "additionalProperties": st.booleans() | inner,
        "patternProperties": st.just({"c": {}}),
        "minProperties": st.integers(0, 3),
        "items": inner,
        "anyOf": st.lists(inner, min_size=1, max_size=2),
        "allOf": st.lists(inner, min_size=1, max_size=2),
        "oneOf": st.lists(inner, min_size=1, max_size=2),
        "not": inner,
        "enum": st.lists(VALUES, min_size=1, max_size=2),
        "$ref": st.just("#/$defs/d"),
    }
    return st.fixed_dictionaries({"properties": properties}, optional=optional)


LEAVES: st.SearchStrategy[Any] = st.sampled_from(
    [{}, True, {"type": "integer"}, {"type": "object"}, {"$ref": "#/$defs/d"}]
)
SCHEMAS = st.recursive(LEAVES, lambda inner: objects(inner) | inner, max_leaves=4)


@given(schema=objects(SCHEMAS), definition=SCHEMAS, value=VALUES)
def test_what_is_valid_under_the_closed_schema_is_valid_under_the_given(
    schema: dict[str, Any], definition: Any, value: Any
) -> None:
    if isinstance(definition, dict) and "$ref" in definition:
        definition = {}  # no endless references
    whole = {**schema, "$defs": {"d": definition}}
    try:
        accepts = jsonschema_rs.validator_for(closed_schema(whole)).is_valid(value)
        if accepts:
            assert jsonschema_rs.validator_for(whole).is_valid(value)
    except jsonschema_rs.ReferencingError:
        return


def test_objects_have_only_the_properties_that_they_describe() -> None:
    inner = {"type": "object", "properties": {"x": {"type": "integer"}}}
    free = {"type": "object"}
    schema = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": inner},
            "maybe": {"anyOf": [inner, {"type": "null"}]},
            "free": free,
            "any": {"type": "object", "properties": {}},
            "open": {**inner, "additionalProperties": True},
            "reference": {"$ref": "#/$defs/inner"},
        },
        "$defs": {"inner": inner},
        "required": ["list"],
    }
    closed = {**inner, "additionalProperties": False}
    properties: Any = schema["properties"]
    assert closed_schema(schema) == {
        **schema,
        "properties": {
            **properties,
            "list": {"type": "array", "items": closed},
            "maybe": {"anyOf": [closed, {"type": "null"}]},
        },
        "$defs": {"inner": closed},
        "additionalProperties": False,
    }


def test_a_tool_without_parameters_has_no_arguments() -> None:
    schema = {"type": "object", "properties": {}}
    assert closed_schema(schema) == {**schema, "additionalProperties": False}


def test_a_schema_that_combines_others_stays_as_it_is() -> None:
    part = {"properties": {"a": {}}}
    for schema in (
        {"type": "object", "properties": {"x": {"allOf": [part, part]}}},
        {"type": "object", **part, "anyOf": [{"required": ["b"]}]},
        {"type": "object", **part, "required": ["b"]},
        {"type": "object", **part, "patternProperties": {"b": {}}},
    ):
        assert closed_schema(schema) == schema
