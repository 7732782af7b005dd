"""POST /v1/chat/completions/batch."""

from typing import Any

import pytest

from headrace.server.api.schemas.responses import ChatCompletion
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import Answer, post

CONVERSATIONS = [
    [{"role": "user", "content": text}] for text in ("0123456789abcdef", "fedcba9876543210", "hi")
]
FIELDS = {"max_tokens": 8, "temperature": 0.7, "seed": 3, "logprobs": True, "top_logprobs": 2}


def batch(server: ServerProcess, **body: Any) -> Answer:
    return post(server.url, "/v1/chat/completions/batch", body)


def test_each_choice_is_the_completion_of_its_conversation(server: ServerProcess) -> None:
    answer = batch(server, messages=CONVERSATIONS, **FIELDS)
    found = ChatCompletion.model_validate(answer.json)
    assert [choice.index for choice in found.choices] == [0, 1, 2]
    usage = dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 0)
    for choice, messages in zip(answer.json["choices"], CONVERSATIONS, strict=True):
        body = {"messages": messages, **FIELDS}
        single = post(server.url, "/v1/chat/completions", body).json
        assert choice == {**single["choices"][0], "index": choice["index"]}
        for name in usage:
            usage[name] += single["usage"][name]
    assert {name: answer.json["usage"][name] for name in usage} == usage


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stream": True}, "stream"),
        ({"n": 2}, "n"),
        ({"messages": []}, "messages"),
        ({"messages": CONVERSATIONS[0]}, "messages[0]"),
        ({"messages": [CONVERSATIONS[0], []]}, "messages[1]"),
        ({"messages": [CONVERSATIONS[0]] * 1025}, "messages"),
        (
            {"messages": [CONVERSATIONS[0], [{"role": "user", "content": [{"type": "x"}]}]]},
            "messages[1][0].content[0]",
        ),
        (
            {"messages": [CONVERSATIONS[0], [{"role": "user", "audio": {}}]]},
            "messages[1][0].audio",
        ),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"max_tokens": 5000}, "messages"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_invalid_batch_is_refused_with_its_field(
    server: ServerProcess, fields: dict[str, Any], param: str
) -> None:
    answer = batch(server, **{"messages": CONVERSATIONS, **fields})
    assert answer.status == 400
    assert answer.error["param"] == param
