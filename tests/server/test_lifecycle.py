"""Startup, draining and exit, with real processes and signals."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from headrace.server.api.messages.message_schemas import MessageError
from headrace.server.api.responses.response_schemas import ResponseEvent
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import Answer, post, request, send_json

StartServer = Callable[..., ServerProcess]

SLOW = ("parrot?step_s=0.01", "--served-model-name", "parrot")
BODY = {"model": "parrot", "prompt": "0123456789abcdef", "max_tokens": 100}
DEADLINE_S = 60.0


def test_sigterm_lets_running_requests_finish_and_refuses_new_ones(
    start_server: StartServer,
) -> None:
    server = start_server(*SLOW)
    body = {**BODY, "max_tokens": 400}
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(post, server.url, "/v1/completions", body)
        stream = pool.submit(post, server.url, "/v1/completions", {**body, "stream": True})
        wait_until_running(server, 2)
        server.send_signal(signal.SIGTERM)
        refused = wait_until_refused(server)
        assert refused.error["code"] == "draining"
        assert int(refused.headers["retry-after"]) > 0
        assert request(server.url, "GET", "/health").status == 503
        assert whole.result().json["usage"]["completion_tokens"] == 400
        assert stream.result().body.endswith(b"data: [DONE]\n\n")
    assert server.wait() == 0


def test_an_idle_server_exits_at_once(start_server: StartServer) -> None:
    server = start_server("parrot", "--shutdown-timeout", "600")
    server.send_signal(signal.SIGINT)
    assert server.wait() == 0


def test_after_the_shutdown_timeout_requests_are_aborted(start_server: StartServer) -> None:
    server = start_server(*SLOW, "--shutdown-timeout", "0.3")
    endless = {**BODY, "max_tokens": 2000}
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(post, server.url, "/v1/completions", endless)
        stream = pool.submit(post, server.url, "/v1/completions", {**endless, "stream": True})
        wait_until_running(server, 2)
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        assert whole.result().status == 503
        assert whole.result().error["code"] == "draining"
        assert_ends_with_error(stream.result(), "draining")


def test_streams_of_other_apis_end_with_their_own_error(start_server: StartServer) -> None:
    server = start_server(*SLOW, "--shutdown-timeout", "0.3")
    user = {"role": "user", "content": "0123456789abcdef"}
    response: dict[str, Any] = {"input": [user], "max_output_tokens": 2000, "stream": True}
    message: dict[str, Any] = {"messages": [user], "max_tokens": 2000, "stream": True}
    with ThreadPoolExecutor() as pool:
        requests = [("/v1/responses", response), ("/v1/messages", message)]
        answers = [pool.submit(post, server.url, *each) for each in requests]
        whole = pool.submit(post, server.url, "/v1/messages", {**message, "stream": False})
        wait_until_running(server, 3)
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
        lasts = [each.result().body.rstrip().split(b"\n")[-2:] for each in answers]
        assert (whole.result().status, whole.result().error["type"]) == (503, "overloaded_error")
    names, data = zip(*lasts, strict=True)
    assert names == (b"event: response.failed", b"event: error")
    failed, error = (json.loads(line.removeprefix(b"data: ")) for line in data)
    ResponseEvent.model_validate(failed)
    assert failed["sequence_number"] > 2
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"]["code"] == "server_error"
    MessageError.model_validate(error)
    assert error["error"]["code"] == "draining"


def test_a_second_sigint_exits_at_once(start_server: StartServer) -> None:
    server = start_server(*SLOW)
    with send_json(
        server.url, "/v1/completions", {**BODY, "max_tokens": 2000, "stream": True}
    ) as s:
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
        server.send_signal(signal.SIGINT)
        wait_until_refused(server)
        server.send_signal(signal.SIGINT)
        assert server.wait(15.0) == 128 + signal.SIGINT


def test_when_the_core_fails_requests_fail_and_the_exit_code_is_1(
    start_server: StartServer,
) -> None:
    server = start_server("parrot?step_s=0.01&fail_at_step=200", *SLOW[1:])
    body = {**BODY, "max_tokens": 2000}
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(post, server.url, "/v1/completions", body)
        stream = pool.submit(post, server.url, "/v1/completions", {**body, "stream": True})
        assert whole.result().status == 500
        assert whole.result().error["code"] == "engine_dead"
        assert "no memory left" in whole.result().error["message"]
        assert_ends_with_error(stream.result(), "engine_dead")
    assert server.wait() == 1
    assert "Error: The engine core failed: MemoryError: the fake has no memory left" in (
        server.output
    )


def test_the_openai_client_raises_when_a_stream_fails(start_server: StartServer) -> None:
    server = start_server("parrot?step_s=0.01&fail_at_step=20", *SLOW[1:])
    texts: list[str] = []
    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai.APIError, match="no memory left"),
    ):
        texts.extend(
            chunk.choices[0].text for chunk in client.completions.create(**BODY, stream=True)
        )
    assert "".join(texts) == "0123456789abcdef012"


def test_a_killed_core_is_reported(start_server: StartServer) -> None:
    server = start_server(*SLOW)
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(post, server.url, "/v1/completions", {**BODY, "max_tokens": 2000})
        wait_until_running(server, 1)
        os.kill(server.core_pid, signal.SIGKILL)
        assert whole.result().status == 500
        assert "killed by signal 9" in whole.result().error["message"]
    assert server.wait() == 1


def test_a_port_in_use_fails_before_the_model_is_loaded(fake_command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [*fake_command, "parrot?start_s=600", "--port", port],
            capture_output=True,
            text=True,
            check=False,
            timeout=120.0,
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: Port {port} on 127.0.0.1 is already in use. Choose another one with --port "
        "(0 for any free port).\n"
    )


def test_a_failed_start_prints_one_line(fake_command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [*fake_command, "parrot?fail_at_start=1", "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120.0,
    )
    assert done.returncode == 1
    assert done.stderr == "Error: The weights do not fit. Take a smaller fake.\n"


def test_a_signal_stops_the_loading(fake_command: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [*fake_command, "parrot?start_s=600", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        killer = threading.Timer(DEADLINE_S, process.kill)
        killer.start()
        wait_until(lambda: catches(process.pid, signal.SIGTERM))
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
        killer.cancel()


def test_the_start_shows_its_settings(start_server: StartServer) -> None:
    server = start_server("parrot", "--served-model-name", "parrot")
    lines = server.output.splitlines()
    assert "model: parrot (a fake)" in lines
    assert any(line.startswith("start: pretend: ") for line in lines)
    assert any(line.startswith("Headrace ") and line.endswith(f"{server.url}/v1") for line in lines)
    assert lines[-1].startswith("curl ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_printed_example_request_works(start_server: StartServer) -> None:
    server = start_server("parrot", "--served-model-name", "parrot")
    lines = server.output.splitlines()
    done = subprocess.run(lines[-1], shell=True, capture_output=True, check=False, timeout=120.0)
    assert json.loads(done.stdout)["object"] == "chat.completion"


def assert_ends_with_error(response: Answer, code: str) -> None:
    """The last event is the error, without [DONE]."""
    assert response.status == 200
    last = response.body.decode().removesuffix("\n\n").rsplit("\n\n", 1)[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == code
    assert b"[DONE]" not in response.body


def wait_until_running(server: ServerProcess, num_requests: int) -> None:
    def is_running() -> bool:
        text = request(server.url, "GET", "/metrics").body.decode()
        return f'num_requests_running{{engine="0",model_name="parrot"}} {num_requests}.0' in text

    wait_until(is_running)


def wait_until_refused(server: ServerProcess) -> Answer:
    """The response to a new request once the server drains."""
    responses: list[Answer] = []

    def is_refused() -> bool:
        responses.append(post(server.url, "/v1/completions", {**BODY, "max_tokens": 1}))
        return responses[-1].status == 503

    wait_until(is_refused)
    return responses[-1]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler for this signal."""
    with open(f"/proc/{pid}/status") as status:
        mask = next(line.split()[1] for line in status if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)
