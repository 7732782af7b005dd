"""Authentication, body size, queue length, clients that disconnect."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request, send_bytes

StartServer = Callable[..., ServerProcess]

ENDLESS = {"model": "parrot", "prompt": "0123456789abcdef", "max_tokens": 2000}


@pytest.fixture(scope="module")
def limited(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    """A slow server that runs one request, queues one, and requires a key and small bodies."""
    arguments = (
        *("parrot?step_s=0.01", "--max-num-seqs", "1", "--max-queue", "1"),
        *("--max-body-size", "1000", "--api-key", "one", "--api-key", "two"),
    )
    with ServerProcess(
        *arguments,
        "--served-model-name",
        "parrot",
        command=fake_command,
        env={"HEADRACE_API_KEY": "ignored because the option is given"},
        start_timeout_s=120.0,
    ) as process:
        yield process


def test_v1_requires_a_key(limited: ServerProcess) -> None:
    for authorization in ({}, {"Authorization": "Bearer three"}, {"Authorization": "Basic one"}):
        response = request(limited.url, "GET", "/v1/models", **authorization)
        assert response.status == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.error["code"] == "invalid_api_key"
    assert request(limited.url, "POST", "/v1/completions").status == 401
    assert request(limited.url, "GET", "/v1/nonsense").status == 401


def test_each_key_is_accepted(limited: ServerProcess) -> None:
    for authorization in ("Bearer one", "bearer two"):
        response = request(limited.url, "GET", "/v1/models", Authorization=authorization)
        assert response.status == 200


@pytest.mark.parametrize("path", ["/health", "/version", "/metrics", "/openapi.json", "/"])
def test_operational_endpoints_need_no_key(limited: ServerProcess, path: str) -> None:
    assert request(limited.url, "GET", path).status == 200


def test_keys_are_not_logged(limited: ServerProcess) -> None:
    request(limited.url, "GET", "/v1/models", Authorization="Bearer wrong-secret")
    assert "secret" not in limited.output
    assert "'one'" not in limited.output


def test_keys_may_come_from_the_environment(start_server: StartServer) -> None:
    server = start_server("parrot", env={"HEADRACE_API_KEY": "red blue"})
    assert request(server.url, "GET", "/v1/models").status == 401
    assert request(server.url, "GET", "/v1/models", Authorization="Bearer blue").status == 200


def test_keys_from_a_file_are_added(start_server: StartServer, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# of the team\nteam-red\n\nteam-blue\n")
    file.chmod(0o600)
    arguments = ("parrot", "--api-key", "team-green", "--api-key-file", str(file))
    server = start_server(*arguments, "--access-log")
    assert request(server.url, "GET", "/v1/models?api_key=query-secret").status == 401
    for key in ("team-red", "team-blue", "team-green"):
        response = request(server.url, "GET", "/v1/models", Authorization=f"Bearer {key}")
        assert response.status == 200
    empty_key = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer \r\n\r\n"
    with send_bytes(server.url, empty_key) as sock:
        assert sock.recv(4096).startswith(b"HTTP/1.1 401 ")
    for key in ("# of the team", "of"):
        response = request(server.url, "GET", "/v1/models", Authorization=f"Bearer {key}")
        assert response.status == 401
    assert '"GET /v1/models HTTP/1.1" 401' in server.output
    for secret in ("query-secret", "api_key", "team-red", "team-blue", "team-green"):
        assert secret not in server.output


def test_a_body_over_the_limit_is_refused(limited: ServerProcess) -> None:
    body = json.dumps({"model": "parrot", "prompt": "x" * 2000})
    key = {"Authorization": "Bearer one"}
    for content in (body, iter([body[:900].encode(), body[900:].encode()])):  # the second: chunked
        response = request(limited.url, "POST", "/v1/completions", content, **key)
        assert response.status == 413
        assert response.error["code"] == "body_too_large"
        assert "1000" in response.error["message"]


def test_a_full_queue_sends_retry_after(limited: ServerProcess) -> None:
    with Stream(limited, ENDLESS), Stream(limited, ENDLESS, wait=False):
        wait_for(limited, "vllm:num_requests_waiting", 1.0)
        response = post(limited.url, "/v1/completions", ENDLESS, Authorization="Bearer one")
        assert response.status == 429
        assert int(response.headers["retry-after"]) > 0
        assert response.error["code"] == "queue_full"
    wait_for(limited, "vllm:num_requests_waiting", 0.0)
    wait_for(limited, "vllm:num_requests_running", 0.0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_a_client_that_disconnects_frees_its_slot(
    limited: ServerProcess, path: str, stream: bool
) -> None:
    body = {**ENDLESS, "stream": stream}
    if path == "/v1/chat/completions":
        body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
    with Stream(limited, body, path=path, wait=stream):
        wait_for(limited, "vllm:num_requests_running", 1.0)
    # At 10 ms per token the request would take 20 s.
    wait_for(limited, "vllm:num_requests_running", 0.0, deadline_s=15.0)
    wait_for(limited, "vllm:kv_cache_usage_perc", 0.0, deadline_s=15.0)


class Stream:
    """A request whose response is not read; closes the connection at its exit."""

    def __init__(
        self,
        server: ServerProcess,
        body: dict[str, object],
        *,
        path: str = "/v1/completions",
        wait: bool = True,
    ) -> None:
        parts = urlsplit(server.url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=60.0)
        content = json.dumps({"stream": True, **body}).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer one\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + content)
        if wait:
            assert self._socket.recv(1000).startswith(b"HTTP/1.1 200")

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def metric(server: ServerProcess, name: str) -> float:
    text = request(server.url, "GET", "/metrics").body.decode()
    lines = [line for line in text.splitlines() if line.startswith(name + "{")]
    assert len(lines) == 1, lines
    return float(lines[0].rsplit(" ", 1)[1])


def wait_for(server: ServerProcess, name: str, value: float, deadline_s: float = 60.0) -> None:
    deadline = time.monotonic() + deadline_s
    while (now := metric(server, name)) != value:
        assert time.monotonic() < deadline, f"{name} is {now}, not {value}"
        time.sleep(0.02)
