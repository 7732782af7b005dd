"""Grammars of requests are translated and checked within limits."""

import asyncio
import json
import time
from typing import Any

import pytest

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.grammar import Grammar
from headrace.engine.grammar.checker import GrammarChecker
from headrace.engine.grammar.limits import (
    MAX_CHOICES,
    MAX_RULES,
    MAX_RULES_BYTES,
    MAX_SCHEMA_DEPTH,
    MAX_SCHEMA_VALUES,
)

MAX_CPU_S = 5.0
"""Of one check; all take below half a second on an idle machine."""


def nested(depth: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = {"anyOf": [schema]}
    return schema


def chain(length: int) -> dict[str, Any]:
    """A schema of references, each to the next one."""
    definitions: dict[str, Any] = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(length)}
    return {"$defs": {**definitions, f"d{length}": {"type": "null"}}, "$ref": "#/$defs/d0"}


def rules(number: int) -> str:
    return "\n".join(["start: r0", *(f"r{i}: r{i + 1}" for i in range(number)), f'r{number}: "a"'])


VALID = [
    Grammar.json_object(),
    Grammar.json_schema("true"),
    Grammar.json_schema(nested(MAX_SCHEMA_DEPTH // 2 - 1)),
    Grammar.json_schema(chain(MAX_SCHEMA_VALUES // 2 - 10)),
    Grammar.json_schema({"properties": {f"p{i}": {"type": "null"} for i in range(1000)}}),
    Grammar.regex("[a-z]+"),
    Grammar.choice(["a", 'b"\n', "ü"]),
    Grammar.choice([f"choice {i}" for i in range(MAX_CHOICES)]),
    Grammar.lark('start: "a" | /b+/'),
    Grammar.lark('root ::= "a" [b-d]+ ( "x" | "y" )?'),
    Grammar.lark(rules(MAX_RULES - 2)),
]
INVALID = [
    Grammar.json_schema("{"),
    Grammar.json_schema("3"),
    Grammar.json_schema("false"),
    Grammar.json_schema('{"a":' * 5000 + "1" + "}" * 5000),
    Grammar.json_schema({"type": "strin"}),
    Grammar.json_schema({"uniqueItems": True}),
    Grammar.json_schema({"$ref": "#/missing"}),
    Grammar.json_schema(nested(MAX_SCHEMA_DEPTH)),
    Grammar.json_schema(chain(MAX_SCHEMA_VALUES)),
    Grammar.json_schema({"enum": ["x" * 300_000]}),
    Grammar.regex("(a"),
    Grammar.regex("a" * (MAX_RULES_BYTES + 1)),
    Grammar.regex("(" * 30_000 + ")" * 30_000),
    Grammar.choice([]),
    Grammar("choice", "[1]"),
    Grammar("choice", '"a"'),
    Grammar.choice(["a"] * (MAX_CHOICES + 1)),
    Grammar.lark(""),
    Grammar.lark("start: missing"),
    Grammar.lark("root ::= missing"),
    Grammar.lark("start: " + "(" * 30_000 + '"a"' + ")" * 30_000),
    Grammar.lark("root ::= " + "(" * 30_000),
    Grammar.lark(rules(MAX_RULES)),
    Grammar.lark("start: A0\n" + "\n".join(f"A{i}: A{i + 1} A{i + 1}" for i in range(40))),
    Grammar("structural_tag", "[]"),
    Grammar("structural_tag", '{"type": "structural_tag", "structures": [], "triggers": []}'),
]


@pytest.fixture(scope="module")
def checker() -> Any:
    checker = GrammarChecker()
    yield checker
    checker.close()


@pytest.mark.parametrize("grammar", VALID, ids=lambda grammar: grammar.source[:30])
def test_valid_grammars_pass(checker: GrammarChecker, grammar: Grammar) -> None:
    began = time.process_time()
    checker.check_now(grammar)
    checker.check_now(grammar)
    assert time.process_time() - began < MAX_CPU_S


@pytest.mark.parametrize("grammar", INVALID, ids=lambda grammar: grammar.source[:30])
def test_invalid_grammars_are_refused_by_name(checker: GrammarChecker, grammar: Grammar) -> None:
    named = Grammar(grammar.kind, grammar.source, (), "field")
    began = time.process_time()
    with pytest.raises(InvalidParameterError) as refused:
        checker.check_now(named)
    assert time.process_time() - began < MAX_CPU_S
    assert refused.value.param == "field"
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "change",
    [
        {"type": "tag"},
        {"more": 1},
        {"triggers": ["<g"]},
        {"triggers": "<f"},
        {"triggers": [""]},
        {"structures": [5]},
        {"structures": [{"begin": "<f>", "schema": {}}]},
        {"structures": [{"begin": "", "schema": {}, "end": ""}]},
        {"structures": [{"begin": "<f>", "schema": 5, "end": ""}]},
        {"structures": [{"begin": "<f>", "schema": {}, "end": "", "more": 1}]},
        {"structures": [{"begin": "<f>", "schema": {"type": "strin"}, "end": ""}]},
    ],
    ids=str,
)
def test_a_wrong_tag_is_refused(checker: GrammarChecker, change: dict[str, Any]) -> None:
    tag = {
        "type": "structural_tag",
        "triggers": ["<f"],
        "structures": [{"begin": "<f>", "schema": {"type": "null"}, "end": "</f>"}],
    }
    checker.check_now(Grammar("structural_tag", json.dumps(tag)))
    with pytest.raises(InvalidParameterError):
        checker.check_now(Grammar("structural_tag", json.dumps({**tag, **change})))


def test_a_check_beside_the_event_loop(checker: GrammarChecker) -> None:
    asyncio.run(checker.check(Grammar.regex("[a-z]{9}")))
    with pytest.raises(InvalidParameterError):
        asyncio.run(checker.check(Grammar.regex("([a-z]{9}")))
