"""The naive server in a separate process, with a tiny model and the openai client."""

import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from headrace.testing.models.tiny_models import write_tiny_model
from headrace.testing.processes.server_process import ServerProcess

MAX_POSITION = 40_000
COMMAND = (sys.executable, "-m", "headrace", "baseline")
ASKED: dict[str, Any] = {"model": "tiny", "max_tokens": 12, "temperature": 0}
MESSAGES: list[Any] = [{"role": "user", "content": "What is a headrace?"}]
EXACT = {"ignore_eos": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    files = write_tiny_model(tmp_path_factory.mktemp("tiny"), max_position=MAX_POSITION)
    arguments = (str(files.path), "--served-model-name", "tiny")
    with ServerProcess(*arguments, command=COMMAND, start_timeout_s=240.0) as process:
        yield process


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[openai.OpenAI]:
    url = f"{server.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60.0) as client:
        yield client


def test_a_completion_has_its_usage(client: openai.OpenAI) -> None:
    reply = client.completions.create(**ASKED, prompt="Once upon a time", extra_body=EXACT)
    assert reply.object == "text_completion"
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 12
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 12


def test_a_stream_has_the_same_text_and_ends_with_usage(
    client: openai.OpenAI,
) -> None:
    whole = client.completions.create(**ASKED, prompt="Once upon a time", extra_body=EXACT)
    chunks = list(
        client.completions.create(
            **ASKED,
            prompt="Once upon a time",
            stream=True,
            stream_options={"include_usage": True},
            extra_body=EXACT,
        )
    )
    texts = [chunk.choices[0].text for chunk in chunks if chunk.choices]
    assert "".join(texts) == whole.choices[0].text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


def test_a_chat_stream_has_the_same_text(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**ASKED, messages=MESSAGES)
    chunks = list(client.chat.completions.create(**ASKED, messages=MESSAGES, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(pieces) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert all(chunk.usage is None for chunk in chunks)


def test_a_prompt_may_be_token_ids(client: openai.OpenAI) -> None:
    reply = client.completions.create(**ASKED, prompt=[5, 6, 7])
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == 3


def test_concurrent_requests_are_queued_and_completed(client: openai.OpenAI) -> None:
    prompts = [f"Tell me about number {number}" for number in range(6)]

    def complete(prompt: str) -> str:
        return client.completions.create(**ASKED, prompt=prompt).choices[0].text

    alone = [complete(prompt) for prompt in prompts]
    with ThreadPoolExecutor(len(prompts)) as pool:
        assert list(pool.map(complete, prompts)) == alone


def test_temperature_is_applied(client: openai.OpenAI) -> None:
    asked = {**ASKED, "temperature": 2.0, "top_p": 0.99}
    texts = {client.completions.create(**asked, prompt="Once").choices[0].text for _ in range(4)}
    assert len(texts) > 1


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "baseline"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n": 2}, "one answer a request"),
        ({"stop": ["."]}, "stop: not supported"),
        ({"max_tokens": MAX_POSITION}, "maximum context length"),
        ({"prompt": []}, "empty"),
    ],
)
def test_unsupported_parameters_are_refused(
    client: openai.OpenAI, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says):
        client.completions.create(**{**ASKED, "prompt": "Once", **changes})


def test_another_models_name_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there is 'tiny'"):
        client.completions.create(**{**ASKED, "model": "other"}, prompt="Once")


def test_a_port_in_use_is_reported_before_loading(server: ServerProcess) -> None:
    from headrace.listen.sockets import ListenError, bind

    port = int(server.url.rpartition(":")[2])
    with pytest.raises(ListenError, match="--port") as refused:
        bind("127.0.0.1", port)
    assert refused.value.code == "address_in_use"


def test_sigterm_exits_during_generation(server: ServerProcess, client: openai.OpenAI) -> None:
    """The last test of the file, since it stops the server."""
    asked = {**ASKED, "max_tokens": 30_000}
    stream = client.completions.create(**asked, prompt="Once", stream=True, extra_body=EXACT)
    next(iter(stream))
    assert server.stop(timeout_s=20) in (0, -signal.SIGTERM)
