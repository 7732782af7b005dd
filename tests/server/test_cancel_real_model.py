"""The default model when clients disconnect, the core is killed or the server gets SIGTERM.

What the fake core shows already is not shown again; here blocks, tokens and exits are real.
"""

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.models.sources.files import ModelFiles
from headrace.testing.metrics_page import MetricsPage
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, send_json

ARGUMENTS = ("smollm2-135m", "--max-model-len", "1024", "--kv-cache-memory", "256MiB")
ENDLESS = {"prompt": "Count: 1, 2, 3,", "max_tokens": 1000, "ignore_eos": True, "temperature": 0}
DEADLINE_S = 60.0


@pytest.mark.parametrize("streaming", [True, False])
def test_a_client_that_disconnects_frees_its_blocks(
    real_server: ServerProcess, streaming: bool
) -> None:
    before = MetricsPage(real_server.url)
    with send_json(real_server.url, "/v1/completions", {**ENDLESS, "stream": streaming}) as sock:
        if streaming:
            received = b""
            while b"data: " not in received:
                received += sock.recv(4096)
        wait_until(lambda: is_busy(real_server))
    wait_until(lambda: is_idle(real_server))

    after = MetricsPage(real_server.url)

    def growth(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    # It was aborted, not finished.
    assert growth("request_success_total", finished_reason="abort") == 1
    assert growth("request_success_total") == 1
    assert growth("generation_tokens_total") < ENDLESS["max_tokens"]


def test_metrics_are_exact(real_server: ServerProcess) -> None:
    before = MetricsPage(real_server.url)
    prompt = list(range(1000, 1070))  # two blocks of 32 and six tokens
    for body in ({"max_tokens": 5}, {"max_tokens": 7, "stream": True}, {"max_tokens": 3, "n": 2}):
        response = post(
            real_server.url, "/v1/completions", {"prompt": prompt, "ignore_eos": True, **body}
        )
        assert response.status == 200
    wait_until(lambda: is_idle(real_server))
    after = MetricsPage(real_server.url)
    growth = {
        name: after.value(name) - before.value(name)
        for name in (
            "prompt_tokens_total",
            "prompt_tokens_cached_total",
            "generation_tokens_total",
            "request_success_total",
            "prefix_cache_queries_total",
            "prefix_cache_hits_total",
            "num_preemptions_total",
            "time_to_first_token_seconds_count",
        )
    }
    assert growth == {
        "prompt_tokens_total": 4 * 70,
        "prompt_tokens_cached_total": 3 * 64,
        "generation_tokens_total": 5 + 7 + 2 * 3,
        "request_success_total": 4,
        "prefix_cache_queries_total": 4 * 70,
        "prefix_cache_hits_total": 3 * 64,
        "num_preemptions_total": 0,
        "time_to_first_token_seconds_count": 4,
    }


def test_the_models_sampling_defaults_apply_unless_a_request_sets_its_own(
    real_server: ServerProcess,
) -> None:
    assert (
        "sampling defaults: temperature 0, repetition_penalty 1.1 (if a request sets none)"
        in real_server.output.splitlines()
    )
    unnamed = complete(real_server)
    assert unnamed == complete(real_server, temperature=0, repetition_penalty=1.1)
    named = complete(real_server, temperature=1.5)
    assert named == complete(real_server, temperature=1.5, repetition_penalty=1)
    assert named != unnamed
    assert complete(real_server, temperature=1.5, repetition_penalty=1.1) != named


def test_a_killed_core_ends_streams_with_an_error_and_the_server_with_1(
    default_model_files: ModelFiles,
) -> None:
    with ServerProcess(*ARGUMENTS) as server, ThreadPoolExecutor() as pool:
        stream = pool.submit(post, server.url, "/v1/completions", {**ENDLESS, "stream": True})
        wait_until(lambda: is_busy(server))
        os.kill(server.core_pid, signal.SIGKILL)
        last = stream.result().body.decode().removesuffix("\n\n").rsplit("\n\n", 1)[-1]
        error = json.loads(last.removeprefix("data: "))["error"]
        assert error["code"] == "engine_dead"
        assert server.wait() == 1
        assert "killed by signal 9" in server.output


def test_sigterm_lets_a_stream_finish_and_without_defaults_temperature_is_1(
    default_model_files: ModelFiles,
) -> None:
    arguments = (*ARGUMENTS, "--sampling-defaults", "none")
    with ServerProcess(*arguments) as server, ThreadPoolExecutor() as pool:
        assert "sampling defaults" not in server.output
        assert complete(server) == complete(server, temperature=1, top_p=1)
        assert complete(server) != complete(server, temperature=0, repetition_penalty=1.1)

        body = {**ENDLESS, "max_tokens": 120, "stream": True, "stream_options": USAGE}
        stream = pool.submit(post, server.url, "/v1/completions", body)
        wait_until(lambda: is_busy(server))
        server.send_signal(signal.SIGTERM)
        *_, usage, done, _ = stream.result().body.decode().split("\n\n")
        assert json.loads(usage.removeprefix("data: "))["usage"]["completion_tokens"] == 120
        assert done == "data: [DONE]"
        assert server.wait() == 0


USAGE = {"include_usage": True}


def complete(server: ServerProcess, **sampling: float) -> str:
    """The text for one seed."""
    body = {"prompt": "Once upon a time", "max_tokens": 32, "seed": 7, **sampling}
    text = post(server.url, "/v1/completions", body).json["choices"][0]["text"]
    assert isinstance(text, str)
    return text


def is_busy(server: ServerProcess) -> bool:
    page = MetricsPage(server.url)
    return page.value("num_requests_running") == 1 and page.value("kv_cache_usage_perc") > 0


def is_idle(server: ServerProcess) -> bool:
    page = MetricsPage(server.url)
    return page.value("num_requests_running") == 0 and page.value("kv_cache_usage_perc") == 0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
