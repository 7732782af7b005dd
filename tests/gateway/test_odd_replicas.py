"""Replicas with unusual or invalid HTTP: no response is mixed with another or falsely complete."""

import asyncio
from collections.abc import Callable

import psutil
import pytest

from headrace.core.gateway.routes import ReplicaRoute
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.servers.scripted_replica import Peer, Script, ScriptedReplica, connect

Route = Callable[..., str]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
NEXT = b"HTTP/1.1 200 OK\r\nx-n: 2\r\ncontent-length: 4\r\n\r\nnext"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"


def post(service: str, *headers: bytes, version: bytes = b"1.1") -> bytes:
    lines = (b"POST /%b/v1/x HTTP/%b" % (service.encode(), version), b"host: h", *headers)
    return b"\r\n".join((*lines, b"content-length: 2", b"", b"{}"))


def responding(*responses: bytes) -> Script:
    """Each request gets the next of these, on any connection; probes get a 404."""
    left = iter(responses)

    async def script(peer: Peer) -> None:
        while True:
            if (await peer.read_message()).startswith(b"GET /health"):
                await peer.send(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
                continue
            await peer.send(next(left))

    return script


async def both(gateway: GatewayProcess, route: Route, first: bytes) -> tuple[list[bytes], int]:
    """What two requests get, the second one of `NEXT`, and over how many connections."""
    async with ScriptedReplica(responding(first, NEXT)) as replica:
        name = await asyncio.to_thread(route, replica.route)
        client = await connect(gateway.port)
        responses = []
        for _ in range(2):
            await client.send(post(name))
            responses.append(await client.read_message())
        await client.close()
        return responses, replica.num_connections


@pytest.mark.parametrize(
    "trailers", [b"x-trailer: 1\r\n", b"set-cookie: a=1\r\ncontent-type: text/plain\r\n"]
)
def test_trailers_are_not_response_headers(
    gateway: GatewayProcess, route: Route, trailers: bytes
) -> None:
    first = CHUNKED + b"\r\n2\r\nok\r\n0\r\n" + trailers + b"\r\n"

    async def script(peer: Peer) -> None:
        await responding(first, NEXT)(peer)

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            response = b""
            # A connection is probed after its first stream; until then others are opened.
            async with asyncio.timeout(60.0):
                while response != NEXT:
                    await client.send(post(name))
                    response = await client.read_message()
                    assert response in (CHUNKED + b"\r\nok", NEXT)
            await client.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "unasked",
    [
        pytest.param(b"H", id="a second answer's first byte"),
        pytest.param(b"HTTP/1.1 200\r\nset-cookie: a=1\r\n", id="half a head without a reason"),
        pytest.param(b"HTTP/1.1 200\r\nx-evil: 1\r\ncontent-length: 4\r\n\r\nevil", id="whole"),
        pytest.param(b"garbage", id="garbage"),
    ],
)
def test_data_after_a_response_is_discarded(
    gateway: GatewayProcess, route: Route, unasked: bytes
) -> None:
    responses, num_connections = asyncio.run(both(gateway, route, OK + unasked))
    assert responses == [OK, NEXT]
    assert num_connections == 2


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_body_where_none_is_allowed_is_discarded(
    gateway: GatewayProcess, route: Route, status: bytes
) -> None:
    head = b"HTTP/1.1 %b\r\nx-a: 1\r\n\r\n" % status
    responses, _ = asyncio.run(both(gateway, route, head + b"body"))
    assert responses == [head, NEXT]


def test_the_connection_header_cannot_remove_framing_headers(
    gateway: GatewayProcess, route: Route
) -> None:
    first = (
        b"HTTP/1.1 200 OK\r\nconnection: x-a, content-length\r\nconnection: x-b\r\n"
        b"x-a: 1\r\nx-b: 2\r\ncontent-length: 2\r\n\r\nok"
    )
    responses, _ = asyncio.run(both(gateway, route, first))
    assert responses == [OK, NEXT]


@pytest.mark.parametrize(
    ("content_type", "has_event"),
    [
        (b"content-type: Text/Event-Stream; charset=utf-8", True),
        (b"content-type: text/event-stream\r\ncontent-encoding: gzip", False),
    ],
)
def test_an_error_event_is_sent_only_to_clients_that_can_parse_it(
    gateway: GatewayProcess, route: Route, content_type: bytes, has_event: bool
) -> None:
    async def script(peer: Peer) -> None:
        if not (await peer.read_message()).startswith(b"GET /health"):
            await peer.send(CHUNKED + content_type + b"\r\n\r\n9\r\ndata: 1\n\n\r\n")

    async def scenario() -> bytes:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(post(name))
            return await client.read_to_end()

    response = asyncio.run(scenario())
    assert b"data: 1\n\n" in response
    assert (b"upstream_cut" in response) is has_event
    assert not response.endswith(b"0\r\n\r\n")


def test_a_truncated_response_is_detectable_by_an_http_1_0_client(
    gateway: GatewayProcess, route: Route
) -> None:
    """There the connection's end is the response's end: it gets a reset instead."""
    begin = CHUNKED + b"\r\n4\r\nhalf\r\n"

    async def script(peer: Peer) -> None:
        if not (await peer.read_message()).startswith(b"GET /health"):
            await peer.send(begin)
            await seen.wait()

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(post(name, version=b"1.0"))
            assert (await client.read_until(b"half")).startswith(b"HTTP/1.1 200 OK\r\n")
            seen.set()
            with pytest.raises(ConnectionResetError):
                await client.read_exactly(1)

    seen = asyncio.Event()
    asyncio.run(scenario())


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nx-long: ", id="a header"),
        pytest.param(CHUNKED + b"\r\n2\r\nok\r\n0\r\nx-long: ", id="a trailer"),
    ],
)
def test_an_endless_head_closes_the_connection(
    gateway: GatewayProcess, route: Route, begin: bytes
) -> None:
    """Otherwise all of it would be buffered."""
    is_left = asyncio.Event()

    async def script(peer: Peer) -> None:
        if (await peer.read_message()).startswith(b"GET /health"):
            await peer.send(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
            return
        try:
            await peer.send(begin)
            for _ in range(1000):
                await peer.send(b"x" * 65536)
        except ConnectionError:
            is_left.set()

    async def scenario() -> bytes:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(post(name, b"connection: close"))
            response = await client.read_to_end()
            async with asyncio.timeout(5):
                await is_left.wait()
            return response

    response = asyncio.run(scenario())
    if b"chunked" in begin:
        assert response.endswith(b"2\r\nok\r\n")
    else:
        assert response.startswith(b"HTTP/1.1 502 ")


def test_a_stale_connection_with_a_partial_response_is_not_retried(
    gateway: GatewayProcess, route: Route
) -> None:
    """The replica had the request, and no replica gets a request twice."""
    num_asked = 0

    async def script(peer: Peer) -> None:
        nonlocal num_asked
        while not (await peer.read_message()).startswith(b"GET /health"):
            num_asked += 1
            if num_asked == 2:
                await peer.send(b"HTTP/1.1 200 O")
                return
            await peer.send(OK)
        await peer.send(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")

    async def scenario() -> list[bytes]:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(post(name))
            first = await client.read_message()
            await asyncio.sleep(1.1)  # a connection idle for this long is stale
            await client.send(post(name))
            second = await client.read_message()
            await client.close()
            return [first, second]

    first, second = asyncio.run(scenario())
    assert first == OK
    assert second.startswith(b"HTTP/1.1 502 ")
    assert num_asked == 2


def test_an_invalid_host_name_counts_as_a_refused_connection(
    gateway: GatewayProcess, route: Route
) -> None:
    async def scenario() -> list[bytes]:
        async with ScriptedReplica(responding(OK, OK)) as replica:
            nowhere = ReplicaRoute("nowhere", "a..b", 1)
            name = await asyncio.to_thread(route, nowhere, replica.route)
            client = await connect(gateway.port)
            responses = []
            async with asyncio.timeout(2):  # less than the timeout of an unresponsive replica
                for _ in range(2):  # one of them is its turn
                    await client.send(post(name))
                    responses.append(await client.read_message())
            await client.close()
            return responses

    assert asyncio.run(scenario()) == [OK, OK]


def test_a_replica_that_responds_without_reading_is_disconnected(
    gateway: GatewayProcess, route: Route
) -> None:
    """Otherwise the rest of the request would stay in the gateway's memory indefinitely."""

    async def script(peer: Peer) -> None:
        await peer.read_head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(b"HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n")
        await is_over.wait()

    async def scenario() -> bytes:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            head = post(name).partition(b"content-length")[0]
            await client.send(head + b"content-length: 30000000\r\n\r\n" + bytes(30_000_000))
            response = await client.read_message()
            async with asyncio.timeout(5):
                while _is_connected(gateway.pid, replica.port):
                    await asyncio.sleep(0.02)
            is_over.set()
            await client.close()
            return response

    is_over = asyncio.Event()
    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 413 No")


def _is_connected(pid: int, port: int) -> bool:
    connections = psutil.Process(pid).net_connections("tcp")
    return any(connection.raddr and connection.raddr.port == port for connection in connections)
