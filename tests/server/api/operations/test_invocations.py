"""POST /invocations: SageMaker's endpoint."""

import json
from typing import Any

import pytest

from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request

PROMPT = {"prompt": "0123456789abcdef", "max_tokens": 4, "temperature": 0}
CHAT = {"messages": [{"role": "user", "content": "0123"}], "max_tokens": 4, "temperature": 0}


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/completions", PROMPT), ("/v1/chat/completions", CHAT)]
)
def test_a_body_gets_the_answer_of_its_endpoint(
    server: ServerProcess, path: str, body: dict[str, Any]
) -> None:
    for more in ({}, {"stream": True}, {"max_tokens": 0}, {"max_tokens": 5000}, {"model": "x"}):
        direct = post(server.url, path, {**body, **more})
        invoked = post(server.url, "/invocations", {**body, **more})
        assert invoked.status == direct.status
        assert invoked.headers["content-type"] == direct.headers["content-type"]
        if direct.status == 200:
            assert _without_ids(invoked.body) == _without_ids(direct.body)
        else:
            assert invoked.json == direct.json


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{}", "missing_required_parameter"),
        (b'{"inputs": "x"}', "missing_required_parameter"),
        (b"[1]", "invalid_json"),
        (b"{", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b"", "invalid_json"),
        (b'{"prompt": "a", "messages": []}', "unknown_parameter"),
        (b'{"prompt": ' + b"[" * 100_000, "invalid_json"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_any_other_body_is_refused(server: ServerProcess, body: bytes, code: str) -> None:
    answer = request(server.url, "POST", "/invocations", body, Content_Type="application/json")
    assert answer.status == 400
    assert answer.error["code"] == code


def test_the_rules_for_bodies_hold(server: ServerProcess) -> None:
    body = json.dumps(PROMPT)
    answer = request(server.url, "POST", "/invocations", body, Content_Type="text/plain")
    assert answer.status == 415
    large = {**PROMPT, "prompt": "x" * 100_000}
    assert post(server.url, "/invocations", large).error["code"] == "context_length_exceeded"


def _without_ids(body: bytes) -> list[Any]:
    """The JSON objects of a response or of its events, without what differs each time."""
    lines = body.decode().replace("data: ", "").replace("[DONE]", "").split("\n\n")
    objects = [json.loads(line) for line in lines if line.strip()]
    for each in objects:
        each.pop("id")
        each.pop("created")
        each.pop("usage", None)  # the second time, the prefix is cached
    return objects
