"""The gateway's process: startup, admin port, draining."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from headrace.core.gateway.routes import ServiceRoute, TargetRoute
from headrace.core.gateway.stats import GatewayStats
from headrace.gateway.client_connection import DRAIN_IDLE_TIMEOUT_S
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.raw_http import request
from headrace.testing.servers.scripted_replica import connect

StartMock = Callable[..., MockServerProcess]

STREAM = json.dumps({"prompt": "x", "max_tokens": 10, "stream": True}).encode()


def service(*mocks: MockServerProcess) -> ServiceRoute:
    return ServiceRoute("svc", True, (TargetRoute(1, 3000, 100, tuple(m.route for m in mocks)),))


def request_bytes(body: bytes) -> bytes:
    head = b"POST /svc/v1/completions HTTP/1.1\r\nhost: localhost\r\n"
    return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def test_sigterm_drains_requests_in_flight(tmp_path: Path, start_mock: StartMock) -> None:
    mock = start_mock("--tokens-per-s", "20")
    with GatewayProcess(tmp_path) as gateway:
        gateway.follow(service(mock))

        async def scenario() -> bytes:
            client = await connect(gateway.port)
            await client.send(request_bytes(STREAM))
            begin = await client.read_until(b"data: ")
            gateway.send_signal(signal.SIGTERM)
            return begin + await client.read_to_end()

        response = asyncio.run(scenario())
        assert gateway.wait() == 0
    assert response.count(b"data: ") == 12
    assert response.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_while_draining_an_open_connection_completes_one_more_request(
    tmp_path: Path, start_mock: StartMock
) -> None:
    mock = start_mock()

    async def scenario(gateway: GatewayProcess) -> bytes | None:
        """None where this machine was too slow for the second that an idle connection has."""
        client = await connect(gateway.port)
        await client.send(request_bytes(b"{}"))
        await client.read_message()
        idle_since = time.monotonic()
        gateway.send_signal(signal.SIGTERM)
        response = b""
        with suppress(OSError):  # it has exited already
            while request(gateway.admin_url, "GET", "/health").body != b"draining\n":
                await asyncio.sleep(0.005)
            await client.send(request_bytes(b"{}"))
            response = await client.read_to_end()
        is_late = time.monotonic() - idle_since > DRAIN_IDLE_TIMEOUT_S
        return None if is_late and response == b"" else response

    for _ in range(5):
        with GatewayProcess(tmp_path) as gateway:
            gateway.follow(service(mock))
            response = asyncio.run(scenario(gateway))
            assert gateway.wait() == 0
        if response is not None:
            break
    assert response is not None
    assert response.startswith(b"HTTP/1.1 200 OK")
    assert b"\r\nconnection: close\r\n" in response


def test_idle_connections_do_not_delay_the_drain(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path) as gateway:

        async def scenario() -> bytes:
            client = await connect(gateway.port)
            gateway.send_signal(signal.SIGTERM)
            return await client.read_to_end()

        assert asyncio.run(scenario()) == b""
        assert gateway.wait() == 0


def test_a_second_signal_exits_at_once(tmp_path: Path, start_mock: StartMock) -> None:
    mock = start_mock("--first-token-s", "60")
    with GatewayProcess(tmp_path) as gateway:
        gateway.follow(service(mock))

        async def scenario() -> bytes:
            client = await connect(gateway.port)
            await client.send(request_bytes(b"{}"))
            while gateway.stats().replicas["mock"].num_outstanding != 1:
                await asyncio.sleep(0.01)
            gateway.send_signal(signal.SIGINT)
            while "draining: 1 request" not in gateway.output:
                await asyncio.sleep(0.01)
            gateway.send_signal(signal.SIGINT)
            return await client.read_to_end()

        assert asyncio.run(scenario()) == b""
        assert gateway.wait() == 1


def test_a_takeover_drops_no_request(tmp_path: Path, start_mock: StartMock) -> None:
    mock = start_mock()
    with GatewayProcess(tmp_path) as old:
        old.follow(service(mock))
        responses: list[bytes] = []
        is_over = False

        async def keep_asking() -> None:
            while not is_over:
                client = await connect(old.port)
                await client.send(request_bytes(b"{}"))
                responses.append(await client.read_message())
                await client.close()

        async def scenario() -> None:
            nonlocal is_over
            asking = [asyncio.create_task(keep_asking()) for _ in range(8)]
            with GatewayProcess(tmp_path, "--take-over", port=old.port):
                num_before = len(responses)
                assert await asyncio.to_thread(old.stop) == 0
                while len(responses) < num_before + 200:
                    await asyncio.sleep(0.01)
                is_over = True
                await asyncio.gather(*asking)

        asyncio.run(scenario())
    assert all(response.startswith(b"HTTP/1.1 200 OK") for response in responses)


def test_an_invalid_table_does_not_change_routing(tmp_path: Path, start_mock: StartMock) -> None:
    mock = start_mock()
    with GatewayProcess(tmp_path) as gateway:
        gateway.follow(service(mock))
        gateway.routes.write_text('{"version": 7, "services": [')
        url = f"http://127.0.0.1:{gateway.port}"

        async def scenario() -> None:
            while "Keeping the previous" not in gateway.output:
                await asyncio.sleep(0.01)

        asyncio.run(scenario())
        assert request(url, "GET", "/svc/v1/models").status == 200
        assert gateway.stats().routes_version == 1


def test_the_gateway_starts_without_a_table(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path) as gateway:
        response = request(f"http://127.0.0.1:{gateway.port}", "GET", "/svc/v1/models")
        assert response.status == 404
        assert response.error["code"] == "unknown_service"
        gateway.follow(service())


def test_the_admin_port_exposes_stats_and_metrics(tmp_path: Path, start_mock: StartMock) -> None:
    mock = start_mock()
    with GatewayProcess(tmp_path) as gateway:
        gateway.follow(service(mock))
        url = f"http://127.0.0.1:{gateway.port}"
        assert request(url, "GET", "/svc/v1/models").status == 200
        stats = msgspec.json.decode(
            request(gateway.admin_url, "GET", "/stats").body, type=GatewayStats
        )
        assert stats.revisions["svc/1"].num_requests_total == 1
        assert sum(stats.revisions["svc/1"].ttft_counts) == 1
        metrics = request(gateway.admin_url, "GET", "/metrics").body.decode()
        counted = (
            'headrace_gateway_requests_total{code="200",key="",model="",revision="1",service="svc"}'
            " 1.0"
        )
        assert counted in metrics
        assert request(gateway.admin_url, "GET", "/health").body == b"ok\n"
        assert request(gateway.admin_url, "GET", "/nowhere").status == 404
        assert request(gateway.admin_url, "POST", "/stats", "x").status == 405


@pytest.mark.parametrize("what", ["another server", "another gateway"])
def test_a_port_in_use_is_a_one_line_error(
    tmp_path: Path, mock: MockServerProcess, gateway: GatewayProcess, what: str
) -> None:
    port = mock.port if what == "another server" else gateway.port
    routes = str(tmp_path / "routes.json")
    ports = ("--port", str(port), "--admin-port", "0")
    result = subprocess.run(
        [sys.executable, "-m", "headrace.gateway", "--routes", routes, *ports],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(f"Error: Port {port} on 127.0.0.1 is already in use.")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("module", ["torch", "transformers", "fastapi", "sqlalchemy"])
def test_heavy_modules_are_not_imported(module: str) -> None:
    code = f"import sys, headrace.gateway.__main__; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
