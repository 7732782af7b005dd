"""What clients leave behind: abandoned requests, idle and half-closed connections,
and clients that send or read slowly."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psutil
import pytest

from headrace.testing.metrics_page import MetricsPage
from headrace.testing.models.tiny_models import write_tiny_model
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, send_bytes, send_json

DEADLINE_S = 60.0
MAX_GROWTH = 16 * 2**20
"""Bytes that a process may grow by in a test, after its warm-up."""
NUM_CLIENTS = 10
ENDLESS = {"max_tokens": 3000, "ignore_eos": True, "stream": True}
SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 3000}},
    "required": ["text"],
}
MESSAGES = [{"role": "user", "content": "the water of the mill"}]
TOOL = {"type": "function", "function": {"name": "write", "parameters": SCHEMA}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    model = write_tiny_model(tmp_path_factory.mktemp("tiny"), max_position=4096)
    arguments = ("--dtype", "float32", "--kv-cache-memory", "16MB", "--num-threads", "1")
    with ServerProcess(str(model.path), *arguments) as process:
        yield process


def bodies(number: int) -> tuple[str, dict[str, Any]]:
    """A request that goes on for long, unless its client leaves: plain, constrained, with tools."""
    chat = {"messages": MESSAGES, **ENDLESS}
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("/v1/completions", {"prompt": "the water", **ENDLESS}),
        ("/v1/completions", {"prompt": "the", "n": 2, **ENDLESS, "stream": False}),
        ("/v1/completions", {"prompt": "the", "guided_json": SCHEMA, **ENDLESS}),
        # Each has a grammar of its own, which is compiled while its client leaves.
        (
            "/v1/completions",
            {"prompt": "a", "guided_regex": f"[a-z ]{{{3000 + number}}}", **ENDLESS},
        ),
        ("/v1/chat/completions", {**chat, "tools": [TOOL], "tool_choice": "required"}),
        ("/v1/chat/completions", {**chat, "tools": [TOOL], "stream": False}),
    ]
    return kinds[number % len(kinds)]


def send_and_leave(server: ServerProcess, number: int) -> None:
    path, body = bodies(number)
    with send_json(server.url, path, body) as sock:
        if body["stream"] and number % 4:
            begin = sock.recv(4096)
            assert begin.startswith(b"HTTP/1.1 200"), begin


def is_idle(server: ServerProcess) -> bool:
    page = MetricsPage(server.url)
    gauges = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
    return all(page.value(name) == 0 for name in gauges)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def memory(server: ServerProcess) -> int:
    """Bytes of both processes."""
    return sum(psutil.Process(pid).memory_info().rss for pid in (server.pid, server.core_pid))


def num_connections(server: ServerProcess) -> int:
    connections = psutil.Process(server.pid).net_connections("tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED for each in connections)


def num_files(server: ServerProcess) -> int:
    return psutil.Process(server.pid).num_fds()


def num_ended(server: ServerProcess, **labels: str) -> float:
    return MetricsPage(server.url).value("request_success_total", **labels)


def num_aborted(server: ServerProcess) -> float:
    return num_ended(server, finished_reason="abort")


def test_cancelled_requests_leave_nothing(server: ServerProcess) -> None:
    ended, aborted = num_ended(server), num_aborted(server)
    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        list(pool.map(lambda number: send_and_leave(server, number), range(100)))
        wait_until(lambda: is_idle(server))
        warm, files = memory(server), num_files(server)
        list(pool.map(lambda number: send_and_leave(server, number), range(100, 300)))
        wait_until(lambda: is_idle(server))
    wait_until(lambda: num_files(server) <= files)
    assert memory(server) - warm < MAX_GROWTH
    assert num_aborted(server) - aborted == num_ended(server) - ended > 100
    answer = post(server.url, "/v1/completions", {"prompt": "the", "max_tokens": 3})
    assert answer.json["usage"]["completion_tokens"] == 3


def test_2000_idle_connections_leave_room_for_requests(server: ServerProcess) -> None:
    files, before = num_files(server), memory(server)
    with ExitStack() as stack:
        for number in range(2000):
            # Some have sent the beginning of a request.
            begin = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n" if number % 2 else b""
            stack.enter_context(send_bytes(server.url, begin))
        wait_until(lambda: num_connections(server) >= 2000)
        answer = post(server.url, "/v1/completions", {"prompt": "the", "max_tokens": 3})
        assert answer.status == 200
        assert memory(server) - before < 2000 * 2**15
    wait_until(lambda: num_files(server) <= files)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_closes_its_side_frees_its_slot(server: ServerProcess, stream: bool) -> None:
    body = {"prompt": "the water", **ENDLESS, "stream": stream}
    with send_json(server.url, "/v1/completions", body) as sock:
        sock.shutdown(socket.SHUT_WR)
        wait_until(lambda: is_idle(server))
        while sock.recv(65536):
            pass


def test_a_request_that_ends_in_its_body_is_forgotten(server: ServerProcess) -> None:
    files = num_files(server)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
    with send_bytes(server.url, head) as sock:
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    wait_until(lambda: num_files(server) <= files)
    assert is_idle(server)


def test_a_request_sent_byte_by_byte_is_answered(server: ServerProcess) -> None:
    content = json.dumps({"prompt": "the", "max_tokens": 2}).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode()
    with send_bytes(server.url, b"") as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head + content:
            sock.sendall(bytes([byte]))
        answer = b""
        while received := sock.recv(65536):
            answer += received
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["usage"]["completion_tokens"] == 2


def test_clients_that_do_not_read_cost_a_bounded_amount_of_memory(server: ServerProcess) -> None:
    before = memory(server)
    body = {"prompt": "the", "n": 8, "logprobs": 5, **ENDLESS, "max_tokens": 300}
    with ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(send_json(server.url, "/v1/completions", body))
        wait_until(lambda: is_idle(server))  # the engine does not wait for them
        answer = post(server.url, "/v1/completions", {"prompt": "the", "max_tokens": 3})
        assert answer.status == 200
        assert memory(server) - before < 3 * MAX_GROWTH
