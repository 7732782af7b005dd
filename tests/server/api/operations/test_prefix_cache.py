"""POST /reset_prefix_cache."""

import json
from collections.abc import Iterator

import pytest

from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request, stream

PROMPT = "0123456789abcdef" * 8
BLOCK_SIZE = 32


@pytest.fixture(scope="module")
def slow_server(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    """A server whose prefix cache no other test uses."""
    with ServerProcess("parrot?step_s=0.005", command=fake_command) as process:
        yield process


def reset(server: ServerProcess) -> None:
    assert request(server.url, "POST", "/reset_prefix_cache").json == {"status": "ok"}


def num_cached(server: ServerProcess) -> int:
    usage = post(server.url, "/v1/completions", {"prompt": PROMPT, "max_tokens": 1}).json["usage"]
    return int(usage["prompt_tokens_details"]["cached_tokens"])


def test_after_a_reset_nothing_is_cached(slow_server: ServerProcess) -> None:
    num_cached(slow_server)
    assert num_cached(slow_server) >= len(PROMPT) - BLOCK_SIZE
    reset(slow_server)
    assert num_cached(slow_server) == 0
    assert num_cached(slow_server) >= len(PROMPT) - BLOCK_SIZE


def test_a_request_in_progress_is_not_disturbed(slow_server: ServerProcess) -> None:
    body = {"prompt": PROMPT, "max_tokens": 200, "temperature": 0}
    expected = post(slow_server.url, "/v1/completions", body).json["choices"][0]["text"]
    headers = {"Content_Type": "application/json"}
    content = json.dumps({**body, "stream": True})
    with stream(slow_server.url, "POST", "/v1/completions", content, headers) as response:
        lines = response.iter_lines()
        first = next(lines)
        reset(slow_server)
        assert num_cached(slow_server) == 0
        events = [line for line in (first, *lines) if line.startswith("data: {")]
    texts = [json.loads(line.removeprefix("data: "))["choices"][0]["text"] for line in events]
    assert "".join(texts) == expected


@pytest.mark.parametrize("name", ["reset_running_requests", "reset_external"])
def test_parameters_that_are_not_supported_are_refused(
    slow_server: ServerProcess, name: str
) -> None:
    answer = request(slow_server.url, "POST", f"/reset_prefix_cache?{name}=true")
    assert answer.status == 400
    assert answer.error["param"] == name
    assert request(slow_server.url, "POST", f"/reset_prefix_cache?{name}=false").status == 200
