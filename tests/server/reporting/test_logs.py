"""One line for each request, as text and as JSON, without prompt, output and key."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request

StartServer = Callable[..., ServerProcess]

DEADLINE_S = 60.0
PROMPT = "a secret of the user"
BODY = {"model": "parrot", "prompt": PROMPT, "max_tokens": 5}


def wait_for_lines(server: ServerProcess, pattern: str, number: int) -> list[str]:
    """The lines that match; the server may still be writing them."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        lines = [line for line in server.output.splitlines() if re.search(pattern, line)]
        if len(lines) >= number:
            return lines
        assert time.monotonic() < deadline, server.output
        time.sleep(0.01)


def test_a_line_of_text_for_each_request(start_server: StartServer) -> None:
    server = start_server("parrot", "--served-model-name", "parrot", "--access-log")
    assert post(server.url, "/v1/completions", BODY, X_Request_Id="from-client").status == 200
    assert request(server.url, "GET", "/v1/models/a%20b%0Ac?api_key=hidden").status == 404
    [completion, other] = wait_for_lines(server, "headrace.access: .*/v1/", 2)
    assert '"POST /v1/completions HTTP/1.1" 200 request_id=from-client' in completion
    for field in (
        r"total_s=\d+\.\d+",
        "model=parrot stream=false num_choices=1",
        f"prompt_tokens={len(PROMPT)} cached_tokens=0 completion_tokens=5 finish_reasons=length",
        r"queued_s=\S+ ttft_s=\d+\.\d+",
    ):
        assert re.search(field, completion), field
    assert '"GET /v1/models/a%20b%0Ac HTTP/1.1" 404 request_id=' in other
    assert r'path="/v1/models/a b\nc"' in other
    for hidden in (PROMPT, "hidden", "api_key"):
        assert hidden not in server.output


def test_a_json_object_for_each_line(start_server: StartServer) -> None:
    server = start_server(
        *("parrot", "--served-model-name", "parrot", "--access-log", "--log-format", "json"),
        *("--host", "0.0.0.0"),  # without a key, which logs a warning
    )
    url = server.url
    assert post(url, "/v1/completions", {**BODY, "n": 2, "stream": True}).status == 200
    assert post(url, "/v1/completions", {**BODY, "max_tokens": -1}).status == 400
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in wait_for_lines(server, r'^\{"time".*(warning|/v1/)', 3)
    ]
    warning, streamed, refused = lines
    assert warning["level"] == "warning"
    assert "without an API key" in warning["message"]
    assert streamed["logger"] == "headrace.access"
    assert streamed["path"] == "/v1/completions"
    assert streamed["stream"] is True
    assert streamed["num_choices"] == 2
    assert streamed["completion_tokens"] == 10
    assert streamed["finish_reasons"] == "length,length"
    assert 0 < streamed["ttft_s"] <= streamed["total_s"]
    assert refused["status"] == 400
    assert "model" not in refused
    assert PROMPT not in server.output


def test_no_line_without_the_option(server: ServerProcess) -> None:
    assert post(server.url, "/v1/completions", BODY).status == 200
    assert "headrace.access" not in server.output
