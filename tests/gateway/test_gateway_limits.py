"""The gateway's own refusals, in OpenAI's shape, over real sockets."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from headrace.core.gateway.routes import Limits
from headrace.gateway.keys import hash_key
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.raw_http import request
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica, connect

Route = Callable[..., str]
StartMock = Callable[..., MockServerProcess]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def post(service: str, body: bytes = b"{}", *headers: bytes) -> bytes:
    lines = [b"POST /%b/v1/x HTTP/1.1" % service.encode(), b"host: h", *headers]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


async def never(peer: Peer) -> None:
    """Reads a request and never responds."""
    await peer.read_message()
    await peer.read_to_end()


def error_of(response: bytes) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(response.partition(b"\r\n\r\n")[2])["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def test_a_service_with_keys_requires_one(
    gateway: GatewayProcess, mock: MockServerProcess, route: Route
) -> None:
    name = route(mock.route, key_hashes=(hash_key(b"sesame"),))
    url = f"http://127.0.0.1:{gateway.port}/{name}"
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        refused = request(url, "GET", f"/{name}/v1/models", **headers)
        assert refused.status == 401
        assert refused.error["code"] == "invalid_api_key"
        assert "sesame" not in refused.error["message"]
    for headers in ({"Authorization": "Bearer sesame"}, {"X_Api_Key": "sesame"}):
        assert request(url, "GET", f"/{name}/v1/models", **headers).status == 200


@pytest.mark.parametrize(
    "framing", [b"content-length: 11\r\n\r\n", b"transfer-encoding: chunked\r\n\r\nb\r\n"]
)
def test_a_large_body_gets_413(
    gateway: GatewayProcess, mock: MockServerProcess, route: Route, framing: bytes
) -> None:
    name = route(mock.route, limits=Limits(max_body_bytes=10))

    async def scenario() -> bytes:
        client = await connect(gateway.port)
        await client.send(b"POST /%b/v1/x HTTP/1.1\r\nhost: h\r\n" % name.encode() + framing)
        await client.send(b"x" * 11)
        response = await client.read_message()
        await client.close()
        return response

    response = asyncio.run(scenario())
    assert response.startswith(b"HTTP/1.1 413 ")
    assert error_of(response)["code"] == "body_too_large"


def test_expect_100_continue_with_a_large_body_gets_413_at_once(
    gateway: GatewayProcess, mock: MockServerProcess, route: Route
) -> None:
    name = route(mock.route, limits=Limits(max_body_bytes=10))

    async def scenario() -> bytes:
        client = await connect(gateway.port)
        await client.send(
            b"POST /%b/v1/x HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\n"
            b"content-length: 1000000\r\n\r\n" % name.encode()
        )
        return await client.read_to_end()

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"Hello there\r\n\r\n", 400, "invalid_http"),
        (b"GET / HTTP/1.1\r\nhost: h\r\nx: " + b"y" * 70_000, 431, "head_too_large"),
        (
            b"GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            501,
            "unsupported_upgrade",
        ),
        (b"CONNECT h:1 HTTP/1.1\r\nhost: h:1\r\n\r\n", 501, "unsupported_upgrade"),
        (
            b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
            "invalid_http",
        ),
        (b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", 404, "unknown_service"),
    ],
)
def test_invalid_http_is_rejected(
    gateway: GatewayProcess, sent: bytes, status: int, code: str
) -> None:
    async def scenario() -> bytes:
        client = await connect(gateway.port)
        await client.send(sent)
        return await client.read_to_end()

    response = asyncio.run(scenario())
    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert error_of(response)["code"] == code


def test_garbage_after_a_request_does_not_affect_its_response(
    gateway: GatewayProcess, route: Route
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read_message()
        await asyncio.sleep(0.05)
        await peer.send(OK)

    async def scenario() -> bytes:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(post(name) + b"\x00garbage\r\n\r\n")
            return await client.read_to_end()

    response = asyncio.run(scenario())
    assert response.startswith(OK)
    assert response[len(OK) :].startswith(b"HTTP/1.1 400 ")


def test_an_error_response_leaves_the_connection_open(
    gateway: GatewayProcess, mock: MockServerProcess, route: Route
) -> None:
    name = route(mock.route)

    async def scenario() -> None:
        client = await connect(gateway.port)
        await client.send(post("nowhere", b"x" * 1000))
        assert (await client.read_message()).startswith(b"HTTP/1.1 404 ")
        await client.send(f"GET /{name}/v1/models HTTP/1.1\r\nhost: h\r\n\r\n".encode())
        assert (await client.read_message()).startswith(b"HTTP/1.1 200 ")
        await client.close()

    asyncio.run(scenario())


def test_concurrency_and_queue_length_are_limited(gateway: GatewayProcess, route: Route) -> None:
    now_under_way = 0
    most_under_way = 0
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal now_under_way, most_under_way
        while True:
            await peer.read_message()
            now_under_way += 1
            most_under_way = max(most_under_way, now_under_way)
            await go_on.wait()
            await asyncio.sleep(0.01)
            now_under_way -= 1
            await peer.send(OK)

    async def scenario() -> None:
        limits = Limits(max_concurrency=2, max_queue=3)
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route, limits=limits)
            clients = [await connect(gateway.port) for _ in range(5)]
            for client in clients:
                await client.send(post(name))
            while (stats := await asyncio.to_thread(gateway.stats)).revisions[
                f"{name}/1"
            ].num_waiting != 3:
                await asyncio.sleep(0.01)
            assert stats.revisions[f"{name}/1"].num_outstanding == 2
            one_more = await connect(gateway.port)
            await one_more.send(post(name))
            refused = await one_more.read_message()
            go_on.set()
            assert [await client.read_message() for client in clients] == [OK] * 5
            for client in (*clients, one_more):
                await client.close()
        assert refused.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nretry-after: " in refused
        assert error_of(refused)["type"] == "rate_limit_error"
        assert most_under_way == 2

    asyncio.run(scenario())


def test_a_queue_timeout_gets_503(gateway: GatewayProcess, route: Route) -> None:
    name = route(scales_from_zero=True, limits=Limits(queue_timeout_s=0.2))
    response = request(f"http://127.0.0.1:{gateway.port}", "POST", f"/{name}/v1/x", "{}")
    assert response.status == 503
    assert response.error["code"] == "queue_timeout"
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "limits", [Limits(idle_timeout_s=0.5), Limits(request_timeout_s=0.5)], ids=["idle", "whole"]
)
def test_a_request_timeout_disconnects_the_replica(
    gateway: GatewayProcess, route: Route, limits: Limits
) -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        try:
            await never(peer)
        finally:
            left.set()

    async def scenario() -> bytes:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route, limits=limits)
            client = await connect(gateway.port)
            await client.send(post(name))
            response = await client.read_message()
            await client.close()
            async with asyncio.timeout(60):
                await left.wait()
        return response

    response = asyncio.run(scenario())
    assert response.startswith(b"HTTP/1.1 504 ")
    assert error_of(response)["code"] == "upstream_timeout"


def test_a_stream_that_exceeds_the_timeout_ends_with_an_error_event(
    gateway: GatewayProcess, start_mock: StartMock, route: Route
) -> None:
    mock = start_mock("--tokens-per-s", "20")
    name = route(mock.route, limits=Limits(request_timeout_s=2.0))  # by then the stream has begun
    body = json.dumps({"prompt": "x", "max_tokens": 1000, "stream": True}).encode()

    async def scenario() -> bytes:
        client = await connect(gateway.port)
        await client.send(post(name, body).replace(b"/v1/x", b"/v1/completions"))
        return await client.read_to_end()

    response = asyncio.run(scenario())
    assert b"data: [DONE]" not in response
    last = response.rpartition(b"data: ")[2].split(b"\n")[0]
    assert json.loads(last)["error"]["code"] == "upstream_timeout"
    assert not response.endswith(b"0\r\n\r\n")
