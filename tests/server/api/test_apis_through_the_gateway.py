"""The real clients of OpenAI's Responses and Anthropic's Messages API, through the gateway."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai
import pytest

from headrace.core.gateway.request_records import RequestRecord
from headrace.core.gateway.routes import ReplicaRoute, ServiceRoute, TargetRoute
from headrace.gateway.keys import hash_key
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.server_process import ServerProcess

MODEL = "smollm2-135m"
KEY = "sesame"
QUESTION = "What is the capital of France?"
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, real_server: ServerProcess
) -> Iterator[GatewayProcess]:
    """It routes the service ``model`` to the real server, for clients with the key."""
    port = urlsplit(real_server.url).port
    assert port is not None
    target = TargetRoute(1, 8000, 100, (ReplicaRoute("replica", "127.0.0.1", port),))
    keys: Any = {"key_hashes": (hash_key(KEY.encode()),), "key_names": ("laptop",)}
    with GatewayProcess(tmp_path_factory.mktemp("gateway")) as process:
        process.follow(ServiceRoute("model", True, (target,), **keys))
        yield process


def last_record(gateway: GatewayProcess, path: str, number: int) -> RequestRecord:
    """Once there are so many of this path."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        records = [one for one in gateway.requests(service="model") if one.path == path]
        if len(records) >= number:
            return max(records, key=lambda one: one.arrived_at)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check(record: RequestRecord, prompt: int, output: int, *, is_stream: bool) -> None:
    assert (record.status, record.key, record.model) == (200, "laptop", MODEL)
    assert (record.prompt_tokens, record.completion_tokens) == (prompt, output)
    assert record.is_stream is is_stream
    assert record.ttft_s is not None
    if is_stream:
        assert output - 1 <= record.num_chunks <= output + 2


def test_the_openai_client(gateway: GatewayProcess) -> None:
    path = "/v1/responses"
    url = f"http://127.0.0.1:{gateway.port}/model/v1"
    arguments: Any = {"model": MODEL, "input": QUESTION, "temperature": 0, "max_output_tokens": 24}
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=120.0) as client:
        whole = client.responses.create(**arguments)
        assert whole.usage is not None
        tokens = (whole.usage.input_tokens, whole.usage.output_tokens)
        check(last_record(gateway, path, 1), *tokens, is_stream=False)
        with client.responses.stream(**arguments) as stream:
            assert stream.get_final_response().output_text == whole.output_text
        check(last_record(gateway, path, 2), *tokens, is_stream=True)
        assert client.responses.retrieve(whole.id) == whole
        # What is read again is not counted again.
        record = last_record(gateway, f"{path}/{whole.id}", 1)
        assert (record.prompt_tokens, record.completion_tokens) == (None, None)
        with pytest.raises(openai.BadRequestError):
            client.responses.create(**arguments, background=True)


def test_the_anthropic_client(gateway: GatewayProcess) -> None:
    path = "/v1/messages"
    url = f"http://127.0.0.1:{gateway.port}/model"
    arguments: Any = {
        "model": MODEL,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 24,
        "extra_body": {"temperature": 0},
    }
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=120.0) as client:
        whole = client.messages.create(**arguments)
        prompt = whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0)
        tokens = (prompt, whole.usage.output_tokens)
        check(last_record(gateway, path, 1), *tokens, is_stream=False)
        with client.messages.stream(**arguments) as stream:
            final = stream.get_final_message()
        assert [block.text for block in final.content] == [block.text for block in whole.content]  # type: ignore[union-attr]
        check(last_record(gateway, path, 2), *tokens, is_stream=True)
        counted = client.messages.count_tokens(model=MODEL, messages=arguments["messages"])
        assert counted.input_tokens == prompt
        with pytest.raises(anthropic.AuthenticationError):
            client.with_options(api_key="wrong").messages.create(**arguments)


def test_totals_by_key_are_those_of_the_clients(gateway: GatewayProcess) -> None:
    records = gateway.requests(service="model")
    stats = gateway.stats().revisions["model/1"]
    given = [one.completion_tokens or 0 for one in records]
    assert stats.num_completion_tokens_total == sum(given) > 0
