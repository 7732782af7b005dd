"""Lines of batches: what is a request, and what a result says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.model_client.batch_request import (
    error_result,
    parse_request,
    parse_result,
    response_result,
)

LINE = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}}


def test_a_request_has_its_path_and_body() -> None:
    request = parse_request(json.dumps(LINE).encode(), 3)
    assert (request.custom_id, request.path, request.body) == ("a", LINE["url"], LINE["body"])
    assert request.problem is None


@pytest.mark.parametrize(
    "change",
    [
        {"custom_id": None},
        {"custom_id": ""},
        {"method": "GET"},
        {"url": "http://other.example/v1/completions"},
        {"url": "//other.example/v1"},
        {"url": "/v1/../metrics"},
        {"url": "/v1 /x"},
        {"url": None},
        {"body": None},
        {"body": [1]},
        {"body": {"stream": True}},
    ],
)
def test_an_invalid_line_has_a_problem_with_its_number(change: dict[str, object]) -> None:
    request = parse_request(json.dumps({**LINE, **change}).encode(), 7)
    assert request.problem is not None
    assert request.problem.startswith("line 7: ")
    assert request.body is None


@given(line=st.binary())
def test_any_bytes_are_a_line(line: bytes) -> None:
    assert parse_request(line, 1).problem is not None


@given(
    custom_id=st.text(min_size=1),
    status=st.integers(200, 599),
    body=st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5),
)
def test_a_result_is_read_as_it_was_written(custom_id: str, status: int, body: object) -> None:
    request = parse_request(json.dumps({**LINE, "custom_id": custom_id}).encode(), 1)
    result = response_result(request, status, "req-1", body)
    assert result.line.count(b"\n") == 1
    assert parse_result(result.line) == result
    value = json.loads(result.line)
    assert value["response"] == {"status_code": status, "request_id": "req-1", "body": body}
    assert value["error"] is None


def test_a_request_without_a_response_has_an_error() -> None:
    result = error_result(parse_request(b"{}", 1), "invalid_request", "why")
    value = json.loads(result.line)
    assert value["response"] is None
    assert value["error"] == {"code": "invalid_request", "message": "why"}
    assert not result.is_successful


@given(cut=st.integers(1))
def test_a_result_that_was_cut_short_is_none(cut: int) -> None:
    line = response_result(parse_request(json.dumps(LINE).encode(), 1), 200, "r", {}).line
    assert parse_result(line[: -1 - cut % (len(line) - 1)]) is None
    assert parse_result(line[:-1]) is None
