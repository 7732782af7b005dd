"""Lists of prompts are admitted together or refused together."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request

PROMPT = "0123456789abcdef"


@pytest.fixture(scope="module")
def small(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    """A server that runs two choices and queues two."""
    arguments = ("parrot", "--max-num-seqs", "2", "--max-queue", "2")
    arguments += ("--served-model-name", "parrot")
    with ServerProcess(*arguments, command=fake_command, start_timeout_s=120.0) as process:
        yield process


@pytest.fixture(scope="module")
def small_client(small: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{small.url}/v1", api_key="none", max_retries=0, timeout=120.0
    ) as client:
        yield client


def metric(server: ServerProcess, name: str) -> float:
    """The sum over all labels of a metric."""
    text = request(server.url, "GET", "/metrics").body.decode()
    lines = [line for line in text.splitlines() if line.startswith(name + "{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": [PROMPT] * 5}, "prompt"),
        ({"prompt": [PROMPT] * 3, "n": 2}, "prompt"),
        ({"prompt": PROMPT, "n": 5}, "n"),
        ({"messages": [{"role": "user", "content": "hi"}], "n": 5}, "n"),
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_batch_beyond_the_capacity_is_refused_with_the_limit(
    small: ServerProcess, body: dict[str, Any], param: str, stream: bool
) -> None:
    path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
    started = metric(small, "vllm:request_success_total")
    response = post(small.url, path, {**body, "max_tokens": 4, "stream": stream})
    assert response.status == 400
    assert response.error["param"] == param
    assert "at most 4" in response.error["message"]
    assert metric(small, "vllm:request_success_total") == started
    assert metric(small, "vllm:num_requests_running") == 0
    assert metric(small, "vllm:num_requests_waiting") == 0


@pytest.mark.parametrize(
    "arguments",
    [{"prompt": [PROMPT] * 4}, {"prompt": [PROMPT] * 2, "n": 2}, {"prompt": PROMPT, "n": 4}],
    ids=str,
)
def test_a_batch_at_the_capacity_is_accepted(
    small_client: openai.OpenAI, arguments: dict[str, Any]
) -> None:
    reply = small_client.completions.create(model="parrot", max_tokens=4, **arguments)
    assert [choice.text for choice in reply.choices] == ["0123"] * 4


@pytest.mark.parametrize(
    "wrong",
    [[257], [1] * 3000, []],
    ids=["not in the vocabulary", "too long", "empty"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_one_invalid_prompt_refuses_the_batch(
    small: ServerProcess, wrong: list[int], stream: bool
) -> None:
    started = metric(small, "vllm:request_success_total")
    prompt = [list(PROMPT.encode()), wrong]
    for echo in (False, True):
        body = {"prompt": prompt, "max_tokens": 4, "stream": stream, "echo": echo}
        response = post(small.url, "/v1/completions", body)
        assert response.status == 400
        assert response.error["param"] == "prompt"
    assert metric(small, "vllm:request_success_total") == started
    assert metric(small, "vllm:num_requests_running") == 0
    assert metric(small, "vllm:num_requests_waiting") == 0
