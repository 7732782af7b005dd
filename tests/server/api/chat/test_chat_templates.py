"""Chat templates that exceed their limits, while other requests continue."""

import threading
from collections.abc import Iterator
from typing import Any

import openai
import psutil
import pytest

from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request

TEMPLATE = (
    "{% macro spin(n) %}{% for i in range(n) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
    "{% endmacro %}{{ spin(rounds or 0) }}{{ 'x' * (size or 0) }}"
    "{% for m in messages %}[{{ m.role }}]"
    "{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}({{ part.text }}){% endfor %}{% endif %}{% endfor %}"
)
MESSAGES = [{"role": "user", "content": "0123456789abcdef"}]
CHAT: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 4}


@pytest.fixture(scope="module")
def spinning(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    """A server whose template takes as much time and memory as the request asks for."""
    arguments = ("parrot?step_s=0.01", "--chat-template", TEMPLATE, "--served-model-name", "parrot")
    with ServerProcess(*arguments, command=fake_command, start_timeout_s=120.0) as process:
        yield process


def chat(server: ServerProcess, **fields: Any) -> Any:
    return post(server.url, "/v1/chat/completions", {**CHAT, **fields})


@pytest.mark.parametrize(
    "variables", [{"rounds": 100_000}, {"size": 10**12}, {"size": 2**40}, {"rounds": 99_999}]
)
def test_an_endless_template_fails_its_own_request_only(
    spinning: ServerProcess, variables: dict[str, int]
) -> None:
    responses: list[Any] = []
    hostile = threading.Thread(
        target=lambda: responses.append(chat(spinning, chat_template_kwargs=variables))
    )
    client = openai.OpenAI(base_url=f"{spinning.url}/v1", api_key="none", max_retries=0)
    with client:
        stream = client.completions.create(
            model="parrot", prompt="0123456789abcdef", max_tokens=400, stream=True
        )
        num_chunks_meanwhile = 0
        for number, _ in enumerate(stream):
            if number == 0:
                hostile.start()
            if hostile.is_alive():
                num_chunks_meanwhile += 1
                assert request(spinning.url, "GET", "/health").status == 200
                assert number % 10 or chat(spinning).status == 200
        assert number == 399
    hostile.join(60.0)
    [response] = responses
    assert response.status == 400
    assert response.error["type"] == "invalid_request_error"
    assert response.error["code"] == "invalid_request"
    if "rounds" in variables:
        assert num_chunks_meanwhile > 10
    assert chat(spinning).status == 200


def test_memory_is_bounded_and_no_process_is_left(spinning: ServerProcess) -> None:
    for variables in ({"size": 900_000_000}, {"size": 300_000_000}, {"size": 34_000_000}):
        assert chat(spinning, chat_template_kwargs=variables).status == 400
    server = psutil.Process(spinning.pid)
    children = server.children()
    assert len(children) <= 2  # the engine core and one renderer
    assert server.memory_info().rss < 1024**3
    assert chat(spinning).json["choices"][0]["message"]["content"] == "0123"


def test_a_template_that_iterates_over_parts_gets_them(spinning: ServerProcess) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two", "x": 1}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "as it is"}]
    reply = chat(spinning, messages=messages, return_token_ids=True).json
    assert bytes(reply["prompt_token_ids"]) == b"[user](one)(two)[assistant]as it is"


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "video_url", "file", "refusal", "x"])
def test_other_part_types_are_refused(spinning: ServerProcess, kind: str) -> None:
    part = {"type": kind, kind: {"url": "x"}}
    response = chat(spinning, messages=[{"role": "user", "content": [part]}])
    assert response.status == 400
    assert response.error["param"] == "messages[0].content[0]"
    assert repr(kind) in response.error["message"]


def test_an_error_of_the_template_is_a_400(spinning: ServerProcess) -> None:
    variables = {"rounds": "not a number"}
    response = chat(spinning, chat_template_kwargs=variables)
    assert response.status == 400
    assert response.error["code"] == "invalid_request"
