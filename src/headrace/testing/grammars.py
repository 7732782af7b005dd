"""Strategies of grammars, and whether a text matches one by another implementation."""

import json
import re
from typing import Any

import jsonschema_rs
from hypothesis import strategies as st

from headrace.core.generation.grammar import Grammar

NAMES = st.text("abcxyz_", min_size=1, max_size=6)
ATOMS = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
        st.integers(-500, 500),
        st.integers(0, 300),
    ),
    st.builds(
        lambda low, size: {"type": "string", "minLength": low, "maxLength": low + size},
        st.integers(0, 4),
        st.integers(0, 6),
    ),
    st.sampled_from(("^[a-c]{2,4}$", "^x(yz)*$", "^[0-9]{4}-[0-9]{2}$")).map(
        lambda pattern: {"type": "string", "pattern": pattern, "maxLength": 9}
    ),
    st.lists(
        st.one_of(st.integers(-9, 9), NAMES, st.none(), st.booleans()),
        min_size=1,
        max_size=4,
        unique_by=repr,
    ).map(lambda values: {"enum": values}),
    st.one_of(NAMES, st.integers(-99, 99)).map(lambda value: {"const": value}),
)


def _object(properties: dict[str, Any], num_optional: int) -> dict[str, Any]:
    required = sorted(properties)[num_optional:]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


SCHEMAS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds(
            lambda items, low, size: {
                "type": "array",
                "items": items,
                "minItems": low,
                "maxItems": low + size,
            },
            inner,
            st.integers(0, 2),
            st.integers(0, 2),
        ),
        st.builds(_object, st.dictionaries(NAMES, inner, max_size=4), st.integers(0, 2)),
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"anyOf": each}),
    ),
    max_leaves=6,
)
REGEXES = st.lists(
    st.sampled_from(("[a-f]", "x{2,3}", "(ab|cd)*", "[0-9]{1,4}", "é?", "(q|rs)", "-")),
    min_size=1,
    max_size=6,
).map("".join)
CHOICES = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6, unique=True)


def matches(grammar: Grammar, text: str) -> bool:
    """By jsonschema_rs and ``re``."""
    match grammar.kind:
        case "json_schema":
            return bool(jsonschema_rs.is_valid(json.loads(grammar.source), json.loads(text)))
        case "regex":
            return re.fullmatch(grammar.source, text) is not None
        case _:
            return text in json.loads(grammar.source)


GRAMMARS = st.one_of(
    SCHEMAS.map(Grammar.json_schema), REGEXES.map(Grammar.regex), CHOICES.map(Grammar.choice)
)
