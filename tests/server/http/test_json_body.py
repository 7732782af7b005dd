"""A body is refused at its first invalid element, and the cost of a body is bounded."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.server.api.schemas.requests import ChatCompletionRequest, CompletionRequest
from headrace.server.http.body_model import BodyModel
from headrace.server.http.errors import MAX_MESSAGE_LENGTH, MAX_PARAM_LENGTH, ApiError
from headrace.server.http.json_body import MAX_JSON_VALUES, parse
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request

MODELS = (CompletionRequest, ChatCompletionRequest)
FIELDS = [
    pytest.param(model, name, id=f"{model.__name__}.{name}")
    for model in MODELS
    for name in model.model_fields
]
COLLECTIONS = {"list", "tuple", "set", "frozenset", "dict", "typed-dict"}
HELLO = {"prompt": "hello", "messages": [{"role": "user", "content": "hello"}]}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def refuse(body: bytes | object, model: type[BodyModel] = CompletionRequest) -> ApiError:
    with pytest.raises(ApiError) as refused:
        parse(body if isinstance(body, bytes) else json.dumps(body).encode(), model)
    return refused.value


OUT_OF_RANGE = {"stop_token_ids": [1, -1]}


@pytest.mark.parametrize("model", MODELS)
def test_validation_stops_at_the_first_wrong_element_of_every_collection(
    model: type[BodyModel],
) -> None:
    found = list(_collections(model.__pydantic_core_schema__))
    assert found
    assert all(schema.get("fail_fast") for schema in found)


@pytest.mark.parametrize(("model", "name"), FIELDS)
def test_the_number_of_errors_does_not_grow_with_wrong_elements(
    model: type[BodyModel], name: str
) -> None:
    for wrong in (1.5, "x", None, [], {}, [1.5], {"x": 1.5}):
        for value in ([wrong] * 1000, [[wrong] * 1000], {f"x{i}": wrong for i in range(1000)}):
            assert _num_errors(model, {**HELLO, name: value}) < 20


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": [1.5] * 10}, "prompt[0]"),
        ({"prompt": [1, 2, 3, "x", "y"]}, "prompt[3]"),
        ({"prompt": ["a", "b", 3]}, "prompt[2]"),
        ({"prompt": [[1, 2], [3, "x"], ["y"]]}, "prompt[1][1]"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"stop": ["a", 1]}, "stop[1]"),
        ({"stop": {"a": 1}}, "stop"),
        (OUT_OF_RANGE, "stop_token_ids[1]"),
        ({"logit_bias": {"1": 2, "x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"1": 2, "2": "y"}}, "logit_bias.2"),
        ({"stream_options": {"include_usage": [1]}}, "stream_options.include_usage"),
    ],
)
def test_the_first_wrong_element_is_named(body: dict[str, Any], param: str) -> None:
    error = refuse({**HELLO, **body})
    assert (error.status, error.param) == (400, param)
    assert error.code == ("invalid_value" if body == OUT_OF_RANGE else "invalid_type")


def test_elements_of_messages_are_named() -> None:
    good = {"role": "user", "content": "a"}
    for message, param in (
        ({"role": 1}, "messages[1].role"),
        ({"role": "user", "content": 1}, "messages[1].content"),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, 1]}, "messages[1].content[1]"),
    ):
        error = refuse({"messages": [good, message, {}]}, ChatCompletionRequest)
        assert (error.status, error.code, error.param) == (400, "invalid_type", param)
    error = refuse({"messages": [good, {"content": "a"}]}, ChatCompletionRequest)
    assert (error.code, error.param) == ("missing_required_parameter", "messages[1].role")


@given(st.dictionaries(st.sampled_from([*CompletionRequest.model_fields]), JSON_VALUES))
def test_any_json_is_accepted_or_refused_with_400(body: dict[str, Any]) -> None:
    for model in MODELS:
        error = _error_of(body, model)
        assert error is None or error.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"prompt":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"prompt":' + b"1" * 100_000 + b"}",
        b'{"prompt":NaN}',
        b'{"prompt":"a","temperature":Infinity}',
        b'{"prompt":"\\ud800"}',
        b'{"prompt":"\xff"}',
        '{"prompt":"a"}'.encode("utf-16"),
        '{"prompt":"a"}'.encode("utf-16-le"),
        '{"prompt":"a"}'.encode("utf-32-be"),
        b"",
        b"{",
        b"3",
        b"[]",
        b"null",
    ],
)
def test_other_than_a_json_object_in_utf_8_is_refused(body: bytes) -> None:
    error = refuse(body)
    assert (error.status, error.code) == (400, "invalid_json")


def test_a_byte_order_mark_is_skipped() -> None:
    assert parse(b'\xef\xbb\xbf{"prompt": "a"}', CompletionRequest).prompt == "a"


def test_long_values_are_truncated_in_errors() -> None:
    long = "x" * 1_000_000
    for error in (
        refuse({"prompt": "a", "logit_bias": {long: 1}}),
        refuse({"prompt": "a", "stream_options": {"include_usage": long}}),
        refuse({"prompt": "a", "n": long}),
    ):
        body = error.body["error"]
        assert len(body["message"]) <= MAX_MESSAGE_LENGTH + 1
        assert len(body["param"]) <= MAX_PARAM_LENGTH + 1


@pytest.mark.parametrize(
    "unit", ["1", "97,98", "[]", "{}", '"a"', '""', '{"a":1}', "[[]]", "null", '"\\\\","\\""']
)
def test_the_number_of_values_is_bounded(unit: str) -> None:
    num_units = MAX_JSON_VALUES // max(1, unit.count(",") + unit.count("[") + 1)
    error = refuse(b'{"prompt":[%b]}' % b",".join([unit.encode()] * (2 * num_units)))
    assert (error.status, error.code) == (413, "body_too_large")


@pytest.mark.parametrize("text", ["," * 1_000_000, "[{:,}]" * 200_000, '\\"\\\\,' * 200_000])
def test_structural_characters_in_strings_are_not_counted(text: str) -> None:
    body = parse(b'{"prompt":"%s"}' % text.encode(), CompletionRequest)
    assert body.prompt == json.loads(f'"{text}"')


def test_the_maximum_number_of_token_ids_is_accepted() -> None:
    num_ids = MAX_JSON_VALUES - 10
    body = b'{"prompt":[%s]}' % b",".join([b"7"] * num_ids)
    assert parse(body, CompletionRequest).prompt == [7] * num_ids


def test_colliding_keys_are_refused_before_they_enter_a_dict() -> None:
    """Python hashes an integer to itself modulo 2**61 - 1, so its multiples all collide."""
    keys = (str(i * (2**61 - 1)) for i in range(80_000))
    body = b'{"prompt":"a","logit_bias":{%s}}' % ",".join(f'"{key}":1' for key in keys).encode()
    began = time.process_time()
    assert refuse(body).code == "invalid_value"
    assert time.process_time() - began < 5.0  # 30 s with a dict


@pytest.mark.parametrize("size", [1_000_000, 5_000_000])
def test_the_memory_of_a_large_invalid_body_is_bounded(server: ServerProcess, size: int) -> None:
    body = b'{"prompt":[%s]}' % b",".join([b"1.5"] * (size // 4))
    before = _reset_peak(server)
    response = request(server.url, "POST", "/v1/completions", body)
    assert response.status in (400, 413)
    assert _memory_peak(server) - before < 10 * size + 64 * 2**20  # 5 GB without fail_fast


def test_deeply_nested_values_get_a_response(server: ServerProcess) -> None:
    """At the parser's depth limit, later recursion over the values must not fail."""
    for field in ("chat_template_kwargs", "metadata", "user", "tools", "extra", "response_format"):
        for depth in (150, 195, 250, 5000):
            for deep in ('{"a":' * depth + "1" + "}" * depth, "[" * depth + "]" * depth):
                content = json.dumps({"messages": HELLO["messages"], "max_tokens": 1})
                body = f'{content[:-1]},"{field}":{deep}}}'
                response = request(server.url, "POST", "/v1/chat/completions", body)
                assert response.status in (200, 400), response.body
    deep = json.loads('{"a":' * 190 + "1" + "}" * 190)
    for message in ({"extra": deep}, {"content": [deep]}, {"tool_calls": [deep]}):
        response = post(
            server.url, "/v1/chat/completions", {"messages": [{"role": "user", **message}]}
        )
        assert response.status in (200, 400), response.body


def _num_errors(model: type[BodyModel], body: dict[str, Any]) -> int:
    try:
        model.model_validate(body)
    except ValidationError as error:
        return error.error_count()
    return 0


def _error_of(body: object, model: type[BodyModel]) -> ApiError | None:
    try:
        parse(json.dumps(body).encode(), model)
    except ApiError as error:
        return error
    return None


def _collections(schema: object) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        kind = schema.get("type")
        if isinstance(kind, str) and kind in COLLECTIONS:
            yield schema
        for name, part in schema.items():
            if name not in ("metadata", "serialization", "default"):
                yield from _collections(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            yield from _collections(part)


def _reset_peak(server: ServerProcess) -> int:
    """Reset the peak of the process's resident memory; returns the current bytes (Linux)."""
    with open(f"/proc/{server.pid}/clear_refs", "w") as file:
        file.write("5")
    return _status_bytes(server, "VmRSS")


def _memory_peak(server: ServerProcess) -> int:
    return _status_bytes(server, "VmHWM")


def _status_bytes(server: ServerProcess, name: str) -> int:
    with open(f"/proc/{server.pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
