"""The mock server responds as a model server does."""

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from headrace.testing.metrics_page import MetricsPage
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.raw_http import request


@pytest.fixture(scope="module")
def mock() -> Iterator[MockServerProcess]:
    with MockServerProcess("--model", "miller", "--tokens-per-s", "200", name="m1") as process:
        yield process


@pytest.fixture
def url(mock: MockServerProcess) -> str:
    return f"http://127.0.0.1:{mock.port}"


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_stream_has_the_same_text_as_a_complete_response(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="miller", prompt="one two three", max_tokens=7)
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (3, 7)
    stream = client.completions.create(
        model="miller",
        prompt="one two three",
        max_tokens=7,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = stream
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert last.usage == whole.usage
    assert sum(bool(chunk.choices[0].text) for chunk in chunks) == 7


def test_a_chat_has_the_configured_pace(client: openai.OpenAI) -> None:
    began_at = time.monotonic()
    stream = client.chat.completions.create(
        model="miller", messages=[{"role": "user", "content": "Hi"}], max_tokens=21, stream=True
    )
    texts = [chunk.choices[0].delta.content for chunk in stream if chunk.choices[0].delta.content]
    assert len(texts) == 21
    assert time.monotonic() - began_at >= 20 / 200


def test_the_replica_header_has_its_name(url: str, client: openai.OpenAI) -> None:
    assert request(url, "GET", "/health").headers["x-replica"] == "m1"
    assert [model.id for model in client.models.list()] == ["miller"]


def test_invalid_requests_are_refused(url: str) -> None:
    assert request(url, "POST", "/v1/completions", '{"prompt": ').status == 400
    assert request(url, "POST", "/v1/completions", '{"max_tokens": "many"}').status == 400
    assert request(url, "GET", "/v2").status == 404


def test_metrics_have_the_usual_names(url: str, client: openai.OpenAI) -> None:
    before = MetricsPage(url).value("time_to_first_token_seconds_count", model_name="miller")
    client.completions.create(model="miller", prompt="x", max_tokens=1)
    after = MetricsPage(url)
    assert after.value("time_to_first_token_seconds_count") == before + 1
    assert after.value("request_queue_time_seconds_count") == before + 1
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
        assert after.value(name) == 0


def test_requests_get_503_until_startup_ends(url: str) -> None:
    with MockServerProcess("--startup-s", "0.3") as slow:
        slow_url = f"http://127.0.0.1:{slow.port}"
        assert request(slow_url, "GET", "/health").status == 503
        deadline = time.monotonic() + 60
        while request(slow_url, "GET", "/health").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_requests_above_the_limit_wait_and_sigterm_waits_for_them() -> None:
    with MockServerProcess("--max-concurrency", "1", "--first-token-s", "0.2") as narrow:
        base_url = f"http://127.0.0.1:{narrow.port}"
        with ThreadPoolExecutor(3) as pool:
            body = json.dumps({"prompt": "x", "max_tokens": 1})
            asked = [
                pool.submit(request, base_url, "POST", "/v1/completions", body) for _ in range(3)
            ]
            deadline = time.monotonic() + 60
            while MetricsPage(base_url).value("num_requests_waiting") != 2:
                assert time.monotonic() < deadline
            assert MetricsPage(base_url).value("num_requests_running") == 1
            narrow.send_signal(signal.SIGTERM)
            assert [response.result().status for response in asked] == [200] * 3
        assert narrow.wait() == 0


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        (None, 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
    ],
)
def test_another_content_type_is_refused(url: str, content_type: str | None, status: int) -> None:
    headers = {} if content_type is None else {"content_type": content_type}
    body = json.dumps({"prompt": "one", "max_tokens": 1})
    assert request(url, "POST", "/v1/completions", body, **headers).status == status
