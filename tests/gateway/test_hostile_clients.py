"""Clients that disconnect, do not read, or send invalid data do not affect others."""

import asyncio
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET

import msgspec
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.core.gateway.routes import Limits, ReplicaRoute, RouteTable, ServiceRoute, TargetRoute
from headrace.gateway.keys import hash_key
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.raw_http import request
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica, connect

Route = Callable[..., str]
STATUS = re.compile(rb"HTTP/1.1 (\d+)")

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: 1\n\n\r\n"


def post(service: str, *headers: bytes, body: bytes = b"{}", path: bytes = b"/v1/x") -> bytes:
    first = b"POST /%b%b HTTP/1.1" % (service.encode(), path)
    length = b"content-length: %d" % len(body)
    return b"\r\n".join((first, b"host: localhost", *headers, length, b"", body))


def reset(client: Peer) -> None:
    """Disconnect as a crashed client does."""
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    client.abort()


async def answers_ok(peer: Peer) -> None:
    while True:
        await peer.read_message()
        await peer.send(OK)


@asynccontextmanager
async def client_of(gateway: GatewayProcess) -> AsyncIterator[Peer]:
    client = await connect(gateway.port)
    try:
        yield client
    finally:
        await client.close()


def test_counts_are_consistent_after_abrupt_disconnects(tmp_path: Path) -> None:
    """Clients that disconnect in every phase of a request, among others that do not."""

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.read_message()
            if b"/stream" in head:
                await peer.send(STREAM + EVENT)
            elif b"/silent" not in head:
                await peer.send(OK)
                continue
            num_asked["silent or streaming"] += 1
            await peer.read_to_end()
            return

    async def one(number: int) -> None:
        async with client_of(gateway) as client:
            match number % 8:
                case 0:
                    await client.send(post("svc", key))
                    assert await client.read_message() == OK
                    counted["200"] += 1
                case 1:
                    await client.send(b"POST /svc/v1/x HTTP/1.1\r\nhost: localhost\r\nx-a")
                    reset(client)
                case 2:
                    await client.send(post("svc", key)[:-1])
                    reset(client)
                case 3 | 4 as way:
                    before = num_asked["silent or streaming"]
                    path = b"/silent" if way == 3 else b"/stream"
                    await client.send(post("svc", key, path=path))
                    while num_asked["silent or streaming"] == before:
                        await asyncio.sleep(0.002)
                    reset(client)
                    counted["499"] += 1
                case 5:
                    await client.send(post("svc", b"authorization: Bearer no-%d" % number))
                    assert (await client.read_message()).startswith(b"HTTP/1.1 401 ")
                    counted["401"] += 1
                case 6:
                    await client.send(post("svc", key, body=bytes(200)))
                    assert (await client.read_message()).startswith(b"HTTP/1.1 413 ")
                    counted["413"] += 1
                case _:
                    await client.send(post(f"unknown-{number}", path=b"/%d" % number))
                    assert (await client.read_message()).startswith(b"HTTP/1.1 404 ")

    async def in_turn(numbers: list[int]) -> None:
        """The replica's count shows each of them that its request has arrived."""
        for number in numbers:
            await one(number)

    async def scenario() -> None:
        async with ScriptedReplica(script, 'odd "\\\n name') as replica:
            limits = Limits(max_body_bytes=100)
            target = TargetRoute(1, 3000, 100, (replica.route,))
            service = ServiceRoute(
                "svc", True, (target,), key_hashes=(hash_key(b"secret-key"),), limits=limits
            )
            await asyncio.to_thread(gateway.follow, service)
            others = [number for number in range(80) if number % 8 not in (3, 4)]
            for _ in range(4):
                await asyncio.gather(in_turn([3, 4] * 5), *(one(number) for number in others))
            async with asyncio.timeout(5):
                while gateway.stats().revisions["svc/1"].num_outstanding:
                    await asyncio.sleep(0.01)

    key = b"x-api-key: secret-key"
    counted: Counter[str] = Counter()
    num_asked: Counter[str] = Counter()
    with GatewayProcess(tmp_path) as gateway:
        asyncio.run(scenario())
        page = request(gateway.admin_url, "GET", "/metrics").body.decode()
        log = gateway.output
    samples = [
        sample for family in text_string_to_metric_families(page) for sample in family.samples
    ]
    requests = [s for s in samples if s.name == "headrace_gateway_requests_total"]
    assert {s.labels["code"]: s.value for s in requests} == dict(counted)
    assert {s.labels["service"] for s in samples if "service" in s.labels} == {"svc"}
    assert {s.labels["replica"] for s in samples if "replica" in s.labels} == {'odd "\\\n name'}
    assert {s.value for s in samples if s.name == "headrace_gateway_outstanding"} == {0}
    assert {s.value for s in samples if s.name == "headrace_gateway_waiting"} == {0}
    attempts = [s.value for s in samples if s.name == "headrace_gateway_replica_requests_total"]
    assert attempts == [counted["200"] + counted["499"]]
    assert "Traceback" not in log
    assert "ERROR" not in log
    assert "secret-key" not in log + page
    assert "no-5" not in log + page


@pytest.mark.parametrize("request_", [b"GET /nowhere HTTP/1.1\r\nhost: localhost\r\n\r\n", None])
def test_a_client_that_does_not_read_is_paused(tmp_path: Path, request_: bytes | None) -> None:
    """The responses would be many times what it sends."""
    response = b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n" + bytes(60000)

    async def script(peer: Peer) -> None:
        while True:
            await peer.read_message()
            await peer.send(response)

    async def scenario() -> int:
        async with ScriptedReplica(script) as replica:
            client = await connect(gateway.port)
            target = TargetRoute(1, 3000, 100, (replica.route,))
            await asyncio.to_thread(gateway.follow, ServiceRoute("svc", True, (target,)))
            before = psutil.Process(gateway.pid).memory_info().rss
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            many = 1000 * (request_ or post("svc"))
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    while True:  # until it blocks
                        await client.send(many)
            grown = psutil.Process(gateway.pid).memory_info().rss - before
            reset(client)
            return grown

    with GatewayProcess(tmp_path) as gateway:
        assert asyncio.run(scenario()) < 20_000_000


def test_memory_of_a_body_in_tiny_chunks_is_bounded(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, bytes]:
        async with ScriptedReplica(answers_ok) as replica, client_of(gateway) as client:
            target = TargetRoute(1, 3000, 100, (replica.route,))
            await asyncio.to_thread(gateway.follow, ServiceRoute("svc", True, (target,)))
            head = post("svc").partition(b"content-length")[0]
            await client.send(head + b"transfer-encoding: chunked\r\n\r\n")
            before = psutil.Process(gateway.pid).memory_info().rss
            for _ in range(20):
                await client.send(b"2\r\nxy\r\n" * 50_000)
            grown = psutil.Process(gateway.pid).memory_info().rss - before
            await client.send(b"0\r\n\r\n")
            return grown, await client.read_message()

    with GatewayProcess(tmp_path) as gateway:
        grown, response = asyncio.run(scenario())
    assert response == OK
    assert grown < 5_000_000


def test_a_pipelined_request_waits_for_the_stream_before_it(
    gateway: GatewayProcess, route: Route
) -> None:
    async def script(peer: Peer) -> None:
        while True:
            if b"/stream" not in await peer.read_message():
                await peer.send(OK)
                continue
            await peer.send(STREAM + EVENT)
            await go_on.wait()
            await peer.send(EVENT + b"0\r\n\r\n")

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica, client_of(gateway) as client:
            name = await asyncio.to_thread(route, replica.route)
            await client.send(post(name, path=b"/stream"))
            await client.read_until(b"data: 1\n\n\r\n")
            await client.send(post(name) + post("nowhere"))
            go_on.set()
            assert await client.read_until(b"0\r\n\r\n") == EVENT + b"0\r\n\r\n"
            assert await client.read_message() == OK
            assert (await client.read_message()).startswith(b"HTTP/1.1 404 ")

    go_on = asyncio.Event()
    asyncio.run(scenario())


@pytest.mark.parametrize("forward_key", [False, True], ids=["taken out", "forwarded"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((b"authorization: bearer ours",), 200),
        ((b"Authorization: BEARER  ours ",), 200),
        ((b"api-key: ours",), 200),
        ((b"authorization: Bearer theirs", b"x-api-key: ours"), 200),
        ((b"authorization: Bearer theirs", b"x-api-key: wrong", b"api-key: ours"), 200),
        ((b"authorization: Bearer ours", b"x-api-key: ours", b"api-key: theirs"), 200),
        ((b"authorization: ours", b"authorization: Bearer theirs", b"api-key: ours"), 200),
        ((b"authorization: Basic b3Vycw==",), 401),
        ((b"authorization: Bearer", b"x-api-key:"), 401),
        ((b"authorization: Bearer ours", b"authorization: Bearer ours"), 401),
        ((b"authorization: Bearer our",), 401),
        ((), 401),
    ],
)
def test_services_accept_keys_in_the_documented_headers(
    gateway: GatewayProcess,
    route: Route,
    headers: tuple[bytes, ...],
    status: int,
    forward_key: bool,
) -> None:
    """The replica gets every header unchanged, since it may check a key itself, but
    not the gateway's key, unless the service forwards it."""
    seen = b""

    async def script(peer: Peer) -> None:
        nonlocal seen
        while True:
            seen = await peer.read_message()
            await peer.send(OK)

    async def scenario() -> bytes:
        async with ScriptedReplica(script) as replica, client_of(gateway) as client:
            options = {"key_hashes": (hash_key(b"ours"),), "forward_key": forward_key}
            name = await asyncio.to_thread(route, replica.route, **options)
            responses = []
            for _ in range(2):  # the second time the head is cached
                await client.send(post(name, *headers))
                responses.append(await client.read_message())
            return responses[-1]

    response = asyncio.run(scenario())
    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert bool(seen) is (status == 200)
    if seen:
        lines = seen.split(b"\r\n")
        for header in headers:
            assert (header in lines) is (forward_key or b"ours" not in header)


def test_table_changes_under_load_drop_no_request(tmp_path: Path) -> None:
    """Some of them half-written, one a folder, some without the replica."""

    async def load() -> int:
        num_answered = 0
        async with client_of(gateway) as client:
            while not is_over.is_set():
                await client.send(post("svc"))
                assert await client.read_message() == OK
                num_answered += 1
        return num_answered

    def change(replica: ReplicaRoute) -> None:
        for number in range(300):
            if number % 100 == 50:
                gateway.routes.write_bytes(b'{"version": 1, "serv')
            target = TargetRoute(1, 3000, 100, (replica,) if number % 7 else ())
            table = RouteTable(10 + number, (ServiceRoute("svc", True, (target,)),))
            new = gateway.routes.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(table))
            new.replace(gateway.routes)
        gateway.follow(ServiceRoute("svc", True, (TargetRoute(1, 3000, 100, (replica,)),)))

    async def scenario() -> list[int]:
        async with ScriptedReplica(answers_ok) as replica:
            target = TargetRoute(1, 3000, 100, (replica.route,))
            await asyncio.to_thread(gateway.follow, ServiceRoute("svc", True, (target,)))
            clients = [asyncio.create_task(load()) for _ in range(4)]
            await asyncio.to_thread(change, replica.route)
            is_over.set()
            return await asyncio.gather(*clients)

    is_over = asyncio.Event()
    with GatewayProcess(tmp_path) as gateway:
        assert min(asyncio.run(scenario())) > 0


def test_data_after_an_invalid_request_does_not_reset_the_connection(
    gateway: GatewayProcess, route: Route, mock: MockServerProcess
) -> None:
    """Unread bytes at the close of a connection would reset it."""
    name = route(mock.route)
    valid = f"GET /{name}/v1/models HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as client:
        client.sendall(valid + valid + b"nonsense\r\n\r\n" + b"x" * 4_000_000)
        client.shutdown(socket.SHUT_WR)
        responses = b""
        while data := client.recv(65536):
            responses += data
    assert STATUS.findall(responses) == [b"200", b"200", b"400"]
