"""Every list, object, string and number of a request has a limit in its schema."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.engine.grammar.limits import MAX_SOURCE_BYTES
from headrace.server.api.schemas.pooling.requests import (
    ClassificationRequest,
    EmbeddingRequest,
    PoolingBody,
    RerankRequest,
    ScoreRequest,
)
from headrace.server.api.schemas.requests import (
    MAX_FIELDS,
    MAX_TEMPLATE_LENGTH,
    ChatCompletionRequest,
    CompletionRequest,
    GenerationRequest,
)
from headrace.server.http.body_model import MAX_DEPTH, MAX_KEY_LENGTH, MAX_VALUES
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request

MODELS: tuple[type[GenerationRequest | PoolingBody], ...] = (
    *(CompletionRequest, ChatCompletionRequest),
    *(EmbeddingRequest, ClassificationRequest, ScoreRequest, RerankRequest),
)

UNBOUNDED_TEXTS = {
    # Bounded by the body's size and by the context length.
    "CompletionRequest.prompt",
    "CompletionRequest.prompt[]",
    "Message.content",
    "ContentPart.text",
    "CalledFunction.arguments",
    *("EmbeddingRequest.input", "EmbeddingRequest.input[]"),
    *("ClassificationRequest.input", "ClassificationRequest.input[]"),
    *("ScoreRequest.text_1", "ScoreRequest.text_1[]", "ScoreRequest.text_2"),
    *("ScoreRequest.text_2[]", "RerankRequest.query", "RerankRequest.documents[]"),
    "RerankDocument.text",
}
GRAMMAR_TEXTS = frozenset(
    {
        *("json", "regex", "choice", "grammar", "structural_tag", "description"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "json_schema", "ebnf"),
    }
)
"""Names of fields whose limit is engine.grammar's."""


def schemas_of(
    model: type[GenerationRequest | PoolingBody],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every nested schema, with its path from the model that contains it."""
    schema = model.model_json_schema()
    for name, definition in schema.pop("$defs", {}).items():
        yield from walk(name, definition)
    yield from walk(model.__name__, schema)


def walk(path: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for member in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from walk(path, member)
    for name, member in schema.get("properties", {}).items():
        yield from walk(f"{path}.{name}", member)
    if "items" in schema:
        yield from walk(f"{path}[]", schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        yield from walk(f"{path}{{}}", schema["additionalProperties"])


@pytest.mark.parametrize("model", MODELS)
def test_everything_in_the_schema_has_a_limit(model: type[GenerationRequest | PoolingBody]) -> None:
    for path, schema in schemas_of(model):
        match schema.get("type"):
            case "array":
                assert schema["maxItems"] <= 2**20, path
            case "object":
                # A model with extra fields must limit their number.
                closed = "properties" in schema and not schema.get("additionalProperties")
                assert closed or schema["maxProperties"] <= 1024, path
            case "integer":
                assert schema.get("minimum", schema.get("exclusiveMinimum")) >= -(2**63), path
                assert schema.get("maximum", schema.get("exclusiveMaximum")) <= 2**63, path
            case "string" if path not in UNBOUNDED_TEXTS and not schema.keys() & {"enum", "const"}:
                name = path.split(".")[-1].removesuffix("[]")
                limit = {"chat_template": MAX_TEMPLATE_LENGTH}.get(name, 1024)
                limit = MAX_SOURCE_BYTES if name in GRAMMAR_TEXTS else limit
                assert schema["maxLength"] <= limit, path


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


USER = {"role": "user", "content": "hi"}
COMPLETION: dict[str, Any] = {"prompt": "hi", "max_tokens": 1}
CHAT: dict[str, Any] = {"messages": [USER], "max_tokens": 1}


@pytest.mark.parametrize(
    ("body", "at_bound", "beyond", "param"),
    [
        (COMPLETION, {"stop": ["x"] * 64}, {"stop": ["x"] * 65}, "stop"),
        (COMPLETION, {"stop": "x" * 256}, {"stop": "x" * 257}, "stop"),
        (COMPLETION, {"stop": ["x" * 256]}, {"stop": ["x" * 257]}, "stop[0]"),
        (COMPLETION, {"stop_token_ids": [1] * 256}, {"stop_token_ids": [1] * 257}, None),
        (COMPLETION, {}, {"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias"),
        (COMPLETION, {}, {"logit_bias": {str(i): "x" for i in range(5000)}}, "logit_bias.0"),
        (COMPLETION, {}, {"logit_bias": {"9" * 5000: 1}}, None),
        (COMPLETION, {"cache_salt": "x" * 1024}, {"cache_salt": "x" * 1025}, "cache_salt"),
        (COMPLETION, {}, {"model": "x" * 1025}, "model"),
        (COMPLETION, {"prompt": ["hi"] * 1024}, {"prompt": ["hi"] * 1025}, "prompt"),
        (COMPLETION, {}, {"prompt": [[1]] * 1025}, "prompt"),
        (COMPLETION, {}, {"prompt": [-1]}, "prompt[0]"),
        (COMPLETION, {}, {"prompt": [2**31]}, "prompt[0]"),
        (COMPLETION, {"n": 128}, {"n": 129}, "n"),
        (COMPLETION, {}, {"n": 10**400}, "n"),
        (COMPLETION, {"seed": 2**63 - 1}, {"seed": 2**63}, "seed"),
        (COMPLETION, {"seed": -(2**63)}, {"seed": -(2**63) - 1}, "seed"),
        (COMPLETION, {}, {"max_tokens": 2**31}, "max_tokens"),
        (COMPLETION, {"max_tokens": 0}, {"max_tokens": -2}, "max_tokens"),
        (COMPLETION, {"bad_words": ["x" * 256] * 256}, {"bad_words": ["x"] * 257}, "bad_words"),
        (COMPLETION, {}, {"bad_words": ["x" * 257]}, "bad_words[0]"),
        (COMPLETION, {}, {"bad_words": [""]}, "bad_words[0]"),
        (
            COMPLETION,
            {"allowed_token_ids": [1, 256]},
            {"allowed_token_ids": [257]},
            "allowed_token_ids",
        ),
        (
            COMPLETION,
            {"logprobs": 0, "logprob_token_ids": [1] * 1024},
            {"logprobs": 0, "logprob_token_ids": [1] * 1025},
            "logprob_token_ids",
        ),
        (COMPLETION, {}, {"logprob_token_ids": [1]}, "logprob_token_ids"),
        (CHAT, {}, {"logprob_token_ids": [1]}, "logprob_token_ids"),
        (COMPLETION, {"prompt_logprobs": 20}, {"prompt_logprobs": 21}, "prompt_logprobs"),
        (COMPLETION, {}, {"logprobs": -1}, "logprobs"),
        (COMPLETION, {}, {"logprobs": -2}, "logprobs"),
        (CHAT, {}, {"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        (COMPLETION, {}, {"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        (
            COMPLETION,
            {"truncate_prompt_tokens": -1},
            {"truncate_prompt_tokens": 0},
            "truncate_prompt_tokens",
        ),
        (COMPLETION, {}, {"truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
        (COMPLETION, {"truncation_side": "right"}, {"truncation_side": "up"}, "truncation_side"),
        (COMPLETION, {"stream_interval": 1024}, {"stream_interval": 1025}, "stream_interval"),
        (COMPLETION, {}, {"stream_interval": 0}, "stream_interval"),
        (COMPLETION, {"priority": 0}, {"priority": 1}, "priority"),
        (COMPLETION, {"request_id": "a" * 128}, {"request_id": "a" * 129}, "request_id"),
        (COMPLETION, {"request_id": "a-b.c:d_9"}, {"request_id": "a b"}, "request_id"),
        (CHAT, {"documents": [{"text": "x"}] * 1024}, {"documents": [{}] * 1025}, "documents"),
        (CHAT, {}, {"documents": [{f"x{i}": 1 for i in range(65)}]}, "documents[0]"),
        (CHAT, {}, {"chat_template": "x" * (MAX_TEMPLATE_LENGTH + 1)}, "chat_template"),
        (COMPLETION, {}, {"max_tokens": -1}, "max_tokens"),
        (COMPLETION, {}, {"best_of": 10**30}, "best_of"),
        (COMPLETION, {"logprobs": 20}, {"logprobs": 10**30}, "logprobs"),
        (CHAT, {}, {"max_completion_tokens": -5}, "max_completion_tokens"),
        (CHAT, {}, {"max_completion_tokens": 5, "min_tokens": 6}, "min_tokens"),
        (CHAT, {"max_tokens": 0}, {"max_tokens": -1}, "max_tokens"),
        (CHAT, {}, {"messages": [USER] * 16385}, "messages"),
        (
            CHAT,
            {"messages": [{**USER, "role": "x" * 64}]},
            {"messages": [{**USER, "role": "x" * 65}]},
            "messages[0].role",
        ),
        (
            CHAT,
            {"messages": [{**USER, "name": "x" * 256}]},
            {"messages": [{**USER, "name": "x" * 257}]},
            "messages[0].name",
        ),
        (
            CHAT,
            {},
            {"messages": [{**USER, "content": [{"type": "text", "text": "x"}] * 4097}]},
            "messages[0].content",
        ),
        (
            CHAT,
            {},
            {"messages": [{**USER, "content": [{"type": "x" * 65}]}]},
            "messages[0].content[0].type",
        ),
        (CHAT, {}, {"messages": [{**USER, **{f"x{i}": 1 for i in range(40)}}]}, "messages[0]"),
        (CHAT, {}, {"messages": [{**USER, "x": nested(MAX_DEPTH)}]}, "messages[0]"),
        (
            CHAT,
            {"chat_template_kwargs": {f"x{i}": 1 for i in range(64)}},
            {"chat_template_kwargs": {f"x{i}": 1 for i in range(65)}},
            "chat_template_kwargs",
        ),
        (
            CHAT,
            {"chat_template_kwargs": {"x": nested(MAX_DEPTH - 2)}},
            {"chat_template_kwargs": {"x": nested(MAX_DEPTH - 1)}},
            "chat_template_kwargs",
        ),
        (
            CHAT,
            {"chat_template_kwargs": {"x": [1] * (MAX_VALUES - 3)}},
            {"chat_template_kwargs": {"x": [1] * MAX_VALUES}},
            "chat_template_kwargs",
        ),
        (
            CHAT,
            {"chat_template_kwargs": {"x": -(2**63)}},
            {"chat_template_kwargs": {"x": 2**63}},
            "chat_template_kwargs",
        ),
        (
            CHAT,
            {"chat_template_kwargs": {"x": {"k" * MAX_KEY_LENGTH: 1}}},
            {"chat_template_kwargs": {"x": {"k" * (MAX_KEY_LENGTH + 1): 1}}},
            "chat_template_kwargs",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_request_is_accepted_at_its_limit_and_refused_beyond(
    server: ServerProcess,
    body: dict[str, Any],
    at_bound: dict[str, Any],
    beyond: dict[str, Any],
    param: str | None,
) -> None:
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    assert post(server.url, path, {**body, **at_bound}).status == 200
    response = post(server.url, path, {**body, **beyond})
    assert response.status == 400
    assert response.error["code"] in ("invalid_value", "invalid_type")
    if param is not None:
        assert response.error["param"] == param
    assert len(response.body) < 3000


def test_too_many_fields_are_refused(server: ServerProcess) -> None:
    fields = {f"x{number}": 1 for number in range(MAX_FIELDS)}
    response = post(server.url, "/v1/completions", {**COMPLETION, **fields})
    assert response.status == 400
    assert response.error["code"] == "invalid_value"


TEXT_FIELDS: list[tuple[dict[str, Any], str]] = [
    (COMPLETION, '{"prompt": "@"}'),
    (COMPLETION, '{"prompt": ["@"]}'),
    (COMPLETION, '{"prompt": "hi", "stop": "@"}'),
    (COMPLETION, '{"prompt": "hi", "stop": ["x", "@"]}'),
    (COMPLETION, '{"prompt": "hi", "cache_salt": "@"}'),
    (COMPLETION, '{"prompt": "hi", "model": "@"}'),
    (COMPLETION, '{"prompt": "hi", "user": "@"}'),
    (COMPLETION, '{"prompt": "hi", "suffix": "@"}'),
    (COMPLETION, '{"prompt": "hi", "something_new": {"@": ["@"]}}'),
    (COMPLETION, '{"prompt": "hi", "@": 1}'),
    (CHAT, '{"messages": [{"role": "@", "content": "hi"}]}'),
    (CHAT, '{"messages": [{"role": "user", "content": "@"}]}'),
    (CHAT, '{"messages": [{"role": "user", "content": [{"type": "text", "text": "@"}]}]}'),
    (CHAT, '{"messages": [{"role": "user", "content": [{"type": "@", "text": "x"}]}]}'),
    (CHAT, '{"messages": [{"role": "user", "content": "hi", "name": "@", "x": ["@"]}]}'),
    (CHAT, '{"messages": [{"role": "user", "content": "hi"}], "chat_template_kwargs": {"@": "@"}}'),
    (CHAT, '{"messages": [{"role": "user", "content": "hi"}], "tools": [{"name": "@"}]}'),
    (CHAT, '{"messages": [{"role": "assistant", "content": "@"}], "continue_final_message": true}'),
]


@pytest.mark.parametrize(
    "text", ["\\ud800", "\\udc00x", "\\u0000", "a\\u0000b", "\\uffff", "\\u202e"]
)
@pytest.mark.parametrize(("base", "template"), TEXT_FIELDS)
def test_unusual_characters_do_not_fail(
    server: ServerProcess, base: dict[str, Any], template: str, text: str
) -> None:
    path = "/v1/chat/completions" if base is CHAT else "/v1/completions"
    body = template.replace("@", text)[:-1] + ', "max_tokens": 2, "temperature": 0}'
    response = request(server.url, "POST", path, body, Content_Type="application/json")
    assert response.status in (200, 400, 404)
    json.loads(response.body.decode())  # UTF-8, and JSON
    if "ud800" in text or "udc00" in text:
        assert response.status == 400
    streamed = body[:-1] + ', "stream": true}'
    response = request(server.url, "POST", path, streamed, Content_Type="application/json")
    assert response.status in (200, 400, 404)
    response.body.decode()
