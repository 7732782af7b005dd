"""The fields that constrain the output, with the openai client against a server on a fake core.

The fake's tokens are bytes and have nothing to do with the grammar, like those of a random model.
"""

import json
import re
from typing import Any

import jsonschema_rs
import openai
import pytest

from headrace.core.errors import InvalidParameterError
from headrace.server.api.schemas.requests import CompletionRequest
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post

MESSAGES: Any = [{"role": "user", "content": 'a"b:{1,2} [c]\n'}]
SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 3, "maximum": 70},
        "kind": {"enum": ["a", "b", None]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["id", "kind", "tags"],
    "additionalProperties": False,
}
TAG = {
    "type": "structural_tag",
    "triggers": ["<f"],
    "structures": [{"begin": "<f=x>", "schema": SCHEMA, "end": "</f>"}],
}
NAMED = {"name": "thing", "schema": SCHEMA, "strict": True}


def is_thing(text: str) -> bool:
    return jsonschema_rs.is_valid(SCHEMA, json.loads(text))


def ask(client: openai.OpenAI, fields: dict[str, Any], **more: Any) -> tuple[str, str | None]:
    reply = client.chat.completions.create(
        model="parrot", messages=MESSAGES, max_tokens=400, extra_body=fields, **more
    )
    return reply.choices[0].message.content or "", reply.choices[0].finish_reason


@pytest.mark.parametrize(
    ("fields", "matches"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": NAMED}}, is_thing),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, is_thing),
        ({"structured_outputs": {"json": SCHEMA}}, is_thing),
        ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, is_thing),
        ({"guided_json": SCHEMA, "guided_whitespace_pattern": " "}, is_thing),
        ({"json_schema": json.dumps(SCHEMA)}, is_thing),
        ({"structured_outputs": {"regex": "[a-f]{3}-[0-9]{2}"}}, r"[a-f]{3}-[0-9]{2}"),
        ({"guided_regex": "x[yz]{5}"}, r"x[yz]{5}"),
        ({"regex": "x[yz]{5}"}, r"x[yz]{5}"),
        ({"structured_outputs": {"choice": ["käse", 'a"\n']}}, r'käse|a"\n'),
        ({"guided_choice": ["yes", "no"]}, r"yes|no"),
        ({"structured_outputs": {"grammar": 'start: "a" B\nB: /[cd]{2}/'}}, r"a[cd]{2}"),
        ({"guided_grammar": 'start: "a" B\nB: /[cd]{2}/'}, r"a[cd]{2}"),
        ({"grammar": 'root ::= "a" x{2}\nx ::= [cd]'}, r"a[cd]{2}"),
        ({"ebnf": 'root ::= "a" x{2}\nx ::= [cd]'}, r"a[cd]{2}"),
        ({"structured_outputs": {"json": SCHEMA, "disable_any_whitespace": True}}, r"\S+"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_every_field_constrains_the_output(
    client: openai.OpenAI, fields: dict[str, Any], matches: Any
) -> None:
    text, finish_reason = ask(client, fields)
    assert finish_reason == "stop"
    assert matches(text) if callable(matches) else re.fullmatch(matches, text), text


def test_any_json_object(client: openai.OpenAI) -> None:
    for fields in (
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"json_object": True}},
        {"guided_json_object": True},
    ):
        text, finish_reason = ask(client, fields)
        if finish_reason == "stop":
            assert isinstance(json.loads(text), dict)
        else:
            assert (finish_reason, text[0]) == ("length", "{")


def test_a_trigger_starts_the_constrained_part(client: openai.OpenAI) -> None:
    for fields in (
        {"response_format": TAG},
        {"structured_outputs": {"structural_tag": json.dumps(TAG)}},
    ):
        text, _ = ask(client, fields, logit_bias={str(ord(c)): 0 for c in "<f"})
        for part in text.split("<f")[1:]:
            assert part.startswith("=x>"[: len(part)])


def test_the_stream_is_the_whole_answer(client: openai.OpenAI) -> None:
    fields = {"structured_outputs": {"json": SCHEMA}}
    whole = client.completions.create(
        model="parrot", prompt="abc", n=3, seed=5, max_tokens=300, extra_body=fields
    )
    texts = ["", "", ""]
    reasons: list[str | None] = [None] * 3
    for chunk in client.completions.create(
        model="parrot", prompt="abc", n=3, seed=5, max_tokens=300, stream=True, extra_body=fields
    ):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert texts == [choice.text for choice in whole.choices]
    assert reasons == ["stop"] * 3
    assert all(map(is_thing, texts))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name",
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"type": "objekt"}},
                }
            },
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_object", "schema": {"not": {}}}},
            "response_format.schema",
        ),
        ({"response_format": {**TAG, "triggers": ["<g"]}}, "response_format"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"json": 5}}, "structured_outputs.json"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"xml": "a"}}, "structured_outputs"),
        (
            {"structured_outputs": {"regex": "a", "whitespace_pattern": " "}},
            "structured_outputs.whitespace_pattern",
        ),
        ({"guided_json": {"a": [{}] * 5000}}, "guided_json"),
        ({"guided_json": json.loads('{"not":' * 70 + "{}" + "}" * 70)}, "guided_json"),
        ({"guided_regex": "(a"}, "guided_regex"),
        ({"regex": "x" * 70_000}, "regex"),
        ({"guided_grammar": "start: missing"}, "guided_grammar"),
        ({"grammar": 'start: <|missing|> "a"'}, "grammar"),
        ({"ebnf": "root ::= " + "(" * 20_000}, "ebnf"),
        ({"ebnf": "\n".join(f"r{i} ::= r{i + 1}" for i in range(2000))}, "ebnf"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_regex"),
        (
            {"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}},
            "structured_outputs.regex",
        ),
    ],
    ids=lambda value: str(value)[:60],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_invalid_constraint_is_a_400_that_names_it(
    server: ServerProcess, fields: dict[str, Any], param: str, stream: bool
) -> None:
    body = {"prompt": "a", "stream": stream, **fields}
    answer = post(server.url, "/v1/completions", body)
    assert answer.status == 400
    assert answer.error["param"] == param
    assert len(answer.error["message"]) < 1000
    assert post(server.url, "/v1/completions", {"prompt": "a", "max_tokens": 1}).status == 200


def test_neutral_values_constrain_nothing() -> None:
    for fields in (
        {},
        {"response_format": {"type": "text"}},
        {"response_format": None, "structured_outputs": None, "guided_json": None},
        {"grammar": "", "guided_json_object": False},
    ):
        body = CompletionRequest.model_validate({"prompt": "a", **fields})
        assert body.output_grammar() is None


@pytest.mark.parametrize("fields", [{}, {"regex": "a"}])
def test_options_of_json_need_json(fields: dict[str, Any]) -> None:
    body = {"prompt": "a", "guided_whitespace_pattern": " ", **fields}
    with pytest.raises(InvalidParameterError) as refused:
        CompletionRequest.model_validate(body).output_grammar()
    assert refused.value.param == "guided_whitespace_pattern"
