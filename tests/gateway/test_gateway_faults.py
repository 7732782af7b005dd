"""Replicas that die, hang, or respond with errors, and clients that disconnect: no avoidable loss.

Real processes that are killed and stopped, and scripted ones for what processes do not do.
"""

import asyncio
import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.core.gateway.routes import Limits, ReplicaRoute
from headrace.testing.metrics_page import MetricsPage
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import BlockingServerProcess, MockServerProcess
from headrace.testing.raw_http import Answer, request
from headrace.testing.servers.scripted_replica import Peer, Script, ScriptedReplica, connect

Route = Callable[..., str]
StartMock = Callable[..., MockServerProcess]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM = json.dumps({"prompt": "x", "max_tokens": 200, "stream": True}).encode()


def post(service: str, body: bytes = b"{}", path: bytes = b"/v1/x") -> bytes:
    return b"POST /%b%b HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%b" % (
        service.encode(),
        path,
        len(body),
        body,
    )


def responding(response: bytes) -> Script:
    async def script(peer: Peer) -> None:
        while True:
            await peer.read_message()
            await peer.send(response)

    return script


def cutting(response: bytes = b"", by_reset: bool = False) -> Script:
    """Responds with these bytes and closes the connection; probes succeed."""

    async def script(peer: Peer) -> None:
        if (await peer.read_message()).startswith(b"GET /health"):
            await peer.send(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
            return
        await peer.send(response)
        if by_reset:
            peer.abort()

    return script


async def fetch(gateway: GatewayProcess, request: bytes) -> bytes:
    client = await connect(gateway.port)
    await client.send(request)
    response = await client.read_message()
    await client.close()
    return response


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(cutting(), id="cut"),
        pytest.param(cutting(by_reset=True), id="reset"),
        pytest.param(cutting(b"HTTP/1.1 200 OK\r\ncontent-le"), id="cut in its head"),
        pytest.param(cutting(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"), id="cut after it"),
        pytest.param(
            cutting(b"HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\n"), id="cut after a 404"
        ),
        pytest.param(cutting(EVENTS), id="cut before the first event"),
        pytest.param(cutting(b"\x00\x01garbage\r\n\r\n"), id="not HTTP"),
        pytest.param(
            responding(b"HTTP/1.1 503 No\r\ncontent-length: 8\r\n\r\ndraining"), id="draining"
        ),
        pytest.param(responding(b"HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n"), id="502"),
        pytest.param(None, id="refused"),
    ],
)
def test_a_failed_request_is_retried_on_another_replica(
    gateway: GatewayProcess, route: Route, script: Script | None
) -> None:
    async def scenario() -> None:
        async with (
            ScriptedReplica(script or cutting(), "bad") as bad,
            ScriptedReplica(responding(OK), "good") as good,
        ):
            replicas = [
                bad.route if script else ReplicaRoute("bad", "127.0.0.1", free_port()),
                good.route,
            ]
            name = await asyncio.to_thread(route, *replicas)
            for _ in range(6):
                assert await fetch(gateway, post(name)) == OK
        stats = gateway.stats().replicas
        assert stats["bad"].num_failures_total >= 1

    asyncio.run(scenario())


def test_the_head_of_an_event_stream_is_forwarded_before_the_first_event(
    gateway: GatewayProcess, route: Route
) -> None:
    """The head of the response to its GET is forwarded before there is an event."""
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_message()
        await peer.send(EVENTS)
        await seen.wait()
        await peer.send(b"9\r\ndata: 1\n\n\r\n0\r\n\r\n")

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(b"GET /%b/events HTTP/1.1\r\nhost: h\r\n\r\n" % name.encode())
            assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            seen.set()
            assert b"data: 1" in await client.read_until(b"0\r\n\r\n")
            await client.close()

    asyncio.run(scenario())


def test_a_request_is_sent_to_a_replica_at_most_once(gateway: GatewayProcess, route: Route) -> None:
    """Both fail it, and both are healthy: there is no replica to wait for."""

    async def scenario() -> None:
        async with (
            ScriptedReplica(cutting(), "one") as one,
            ScriptedReplica(cutting(), "two") as two,
        ):
            name = await asyncio.to_thread(route, one.route, two.route)
            response = await fetch(gateway, post(name))
            stats = gateway.stats().replicas
            assert [stats[name].num_requests_total for name in ("one", "two")] == [1, 1]
        assert response.startswith(b"HTTP/1.1 502 ")
        assert b'"upstream_failed"' in response

    asyncio.run(scenario())


def test_a_503_of_the_only_replica_is_forwarded(gateway: GatewayProcess, route: Route) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nbusy"

    async def scenario() -> bytes:
        async with ScriptedReplica(responding(busy)) as replica:
            name = await asyncio.to_thread(route, replica.route)
            return await fetch(gateway, post(name))

    assert asyncio.run(scenario()) == busy


def test_a_503_of_the_only_replica_is_forwarded_in_any_fragmentation(
    gateway: GatewayProcess, route: Route
) -> None:
    head = b"HTTP/1.1 503 Busy\r\nlocation: /later\r\ncontent-length: 8\r\n\r\n"
    is_begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.read_message()
            await peer.send(head + b"very")
            await is_begun.wait()
            await peer.send(b"busy")

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            for _ in range(2):
                await client.send(post(name))
                response = await client.read_until(b"very")
                is_begun.set()
                response += await client.read_exactly(4)
                assert response.endswith(b"verybusy")
                assert b"\r\nlocation: /%b/later\r\n" % name.encode() in response
            # A truncated one does not leak into another request.
            is_begun.clear()
            await client.send(post(name))
            await client.read_until(b"very")
        assert await client.read_to_end() == b""

    asyncio.run(scenario())


def test_a_request_on_a_stale_connection_is_sent_again(
    gateway: GatewayProcess, route: Route
) -> None:
    """The close and the next request may cross: the request is sent again on a new connection."""
    closes = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_message()
        await peer.send(OK)
        if replica.num_connections > 1:
            return
        await closes.wait()
        await peer.read_message()  # too late: it has decided to close

    async def scenario() -> None:
        nonlocal replica
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            assert await fetch(gateway, post(name)) == OK
            await asyncio.sleep(1.1)  # a connection idle for this long is stale
            closes.set()
            assert await fetch(gateway, post(name)) == OK
            assert gateway.stats().replicas["scripted"].num_failures_total == 0

    replica: ScriptedReplica
    asyncio.run(scenario())


@pytest.mark.parametrize("by_reset", [False, True])
def test_a_truncated_stream_ends_with_an_error_event(
    gateway: GatewayProcess, route: Route, by_reset: bool
) -> None:
    sent = b'8\r\ndata: 1\n\r\n1\r\n\n\r\n11\r\ndata: 2\n\ndata: {"\r\n'

    async def script(peer: Peer) -> None:
        await peer.read_message()
        await peer.send(EVENTS + sent)
        await seen.wait()
        if by_reset:
            peer.abort()

    async def scenario() -> bytes:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(post(name))
            begin = await client.read_until(b"data: 2\n\n\r\n")
            seen.set()
            return begin + await client.read_to_end()

    seen = asyncio.Event()
    _, _, body = asyncio.run(scenario()).partition(b"\r\n\r\n")
    lines = [line for line in body.split(b"\n") if line.startswith(b"data: ")]
    assert lines[:2] == [b"data: 1", b"data: 2"]
    assert len(lines) == 3  # the partial event is not forwarded
    error = json.loads(lines[2].removeprefix(b"data: "))["error"]
    assert error["code"] == "upstream_cut"
    assert error.keys() == {"message", "type", "param", "code"}
    assert body.endswith(b"}}\n\n\r\n")  # no last chunk


def test_a_truncated_response_aborts_the_clients_connection(
    gateway: GatewayProcess, route: Route
) -> None:
    begins = (
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    )

    async def scenario(begin: bytes) -> bytes:
        async with ScriptedReplica(cutting(begin)) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(post(name))
            return await client.read_to_end()

    for begin in begins:
        assert asyncio.run(scenario(begin)) == begin


@pytest.mark.parametrize(
    ("end", "is_whole"), [(b"data: [DONE]\n\n", True), (b"data: 2\n\n", False), (b"", False)]
)
def test_a_close_delimited_stream_is_complete_after_done(
    gateway: GatewayProcess, route: Route, end: bytes, is_whole: bool
) -> None:
    begin = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n"

    async def scenario() -> bytes:
        async with ScriptedReplica(cutting(begin + end)) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(post(name).replace(b"host:", b"connection: close\r\nhost:"))
            return await client.read_to_end()

    response = asyncio.run(scenario())
    assert response.endswith(b"0\r\n\r\n") is is_whole
    assert (b"upstream_cut" in response) is not is_whole


def test_a_killed_replica_loses_only_its_begun_responses(
    gateway: GatewayProcess, start_mock: StartMock, route: Route
) -> None:
    doomed = start_mock("--tokens-per-s", "10", "--first-token-s", "2", name="doomed")
    other = start_mock("--tokens-per-s", "200", name="other")

    async def stream(name: str) -> bytes:
        client = await connect(gateway.port)
        await client.send(post(name, STREAM, b"/v1/completions"))
        response = b""
        while not response.endswith(b"0\r\n\r\n") and (piece := await client.reader.read(65536)):
            response += piece
        await client.close()
        return response

    async def scenario() -> tuple[list[bytes], list[bytes]]:
        name = await asyncio.to_thread(route, doomed.route)
        begun = [asyncio.create_task(stream(name)) for _ in range(3)]
        while MetricsPage(f"http://127.0.0.1:{doomed.port}").value(
            "time_to_first_token_seconds_count"
        ) != len(begun):
            await asyncio.sleep(0.01)
        await asyncio.to_thread(route, doomed.route, other.route, name=name)
        # These go to both; the killed one has not begun its responses.
        late = [asyncio.create_task(stream(name)) for _ in range(4)]
        while gateway.stats().revisions[f"{name}/1"].num_outstanding != 7:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(doomed.kill)
        return await asyncio.gather(*begun), await asyncio.gather(*late)

    begun, late = asyncio.run(scenario())
    for response in begun:
        assert b'"code":"upstream_cut"' in response
        assert not response.endswith(b"0\r\n\r\n")
    for response in late:
        assert b"x-replica: other" in response
        assert response.endswith(b"0\r\n\r\n")


def test_a_stopped_replica_is_ejected_and_loses_its_requests_when_killed(
    gateway: GatewayProcess, start_mock: StartMock, route: Route
) -> None:
    """SIGSTOP: its connections stay open without data, until the control plane kills it."""
    stopped = start_mock("--tokens-per-s", "20", name="stopped")
    other = start_mock(name="other")
    body = b'{"prompt":"x"}'

    async def scenario() -> tuple[bytes, bytes, bytes]:
        name = await asyncio.to_thread(route, stopped.route)
        begun = await connect(gateway.port)
        await begun.send(post(name, STREAM, b"/v1/completions"))
        await begun.read_until(b"data: ")
        stopped.send_signal(signal.SIGSTOP)
        unanswered = await connect(gateway.port)
        await unanswered.send(post(name, body, b"/v1/completions"))
        async with asyncio.timeout(12):
            while not gateway.stats().replicas["stopped"].is_ejected:
                await asyncio.sleep(0.05)
        await asyncio.to_thread(route, stopped.route, other.route, name=name)
        late = await fetch(gateway, post(name, body, b"/v1/completions"))
        assert gateway.stats().replicas["stopped"].num_outstanding == 2
        await asyncio.to_thread(stopped.kill)
        responses = late, await unanswered.read_message(), await begun.read_to_end()
        await unanswered.close()
        return responses

    late, response, stream = asyncio.run(scenario())
    assert b"x-replica: other" in late
    assert b"x-replica: other" in response
    assert b'"code":"upstream_cut"' in stream


def test_requests_of_a_stopped_replica_end_after_the_idle_timeout(
    gateway: GatewayProcess, start_mock: StartMock, route: Route
) -> None:
    stopped = start_mock("--tokens-per-s", "20", name="stopped alone")

    async def scenario() -> tuple[bytes, bytes]:
        limits = Limits(idle_timeout_s=2.0)
        name = await asyncio.to_thread(route, stopped.route, limits=limits)
        begun = await connect(gateway.port)
        await begun.send(post(name, STREAM, b"/v1/completions"))
        await begun.read_until(b"data: ")
        stopped.send_signal(signal.SIGSTOP)
        response = await fetch(gateway, post(name, b'{"prompt":"x"}', b"/v1/completions"))
        return response, await begun.read_to_end()

    response, stream = asyncio.run(scenario())
    assert response.startswith(b"HTTP/1.1 504 ")
    assert b'"code":"upstream_timeout"' in stream


def test_a_busy_replica_that_fails_probes_completes_its_requests_and_returns(
    gateway: GatewayProcess, route: Route, tmp_path: Path
) -> None:
    end = tmp_path / "end"

    async def scenario(blocking: BlockingServerProcess) -> None:
        name = await asyncio.to_thread(route, blocking.route)
        body = json.dumps({"work_until": str(end)}).encode()
        asked = [asyncio.create_task(fetch(gateway, post(name, body, b"/v1/completions")))]
        while not gateway.stats().replicas["blocking"].is_ejected:
            await asyncio.sleep(0.05)
        # The next request waits for the only replica.
        asked.append(asyncio.create_task(fetch(gateway, post(name, b"{}", b"/v1/completions"))))
        while gateway.stats().revisions[f"{name}/1"].num_waiting != 1:
            await asyncio.sleep(0.01)
        end.touch()
        for response in await asyncio.gather(*asked):
            assert response.startswith(b"HTTP/1.1 200 ")
            assert b'"pid":%d' % blocking.pid in response
        stats = gateway.stats().replicas["blocking"]
        assert (stats.num_requests_total, stats.num_failures_total) == (2, 0)
        assert not stats.is_ejected

    with BlockingServerProcess() as blocking:
        asyncio.run(scenario(blocking))


def test_a_replica_that_refused_connections_is_restored(
    gateway: GatewayProcess, start_mock: StartMock, route: Route
) -> None:
    port = free_port()
    name = route(ReplicaRoute("late", "127.0.0.1", port))
    url = f"http://127.0.0.1:{gateway.port}"

    async def scenario() -> Answer:
        asking = asyncio.create_task(
            asyncio.to_thread(request, url, "GET", f"/{name}/v1/models", None)
        )
        while not gateway.stats().replicas["late"].is_ejected:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(start_mock, "--port", str(port))
        return await asking

    assert asyncio.run(scenario()).status == 200
    assert not gateway.stats().replicas["late"].is_ejected


def test_a_request_waits_for_the_replacement_replica(
    gateway: GatewayProcess, start_mock: StartMock, route: Route
) -> None:
    doomed = start_mock("--first-token-s", "30", name="first")
    replacement = start_mock(name="second")

    async def scenario() -> bytes:
        name = await asyncio.to_thread(route, doomed.route)
        asking = asyncio.create_task(
            fetch(gateway, post(name, b'{"prompt":"x"}', b"/v1/completions"))
        )
        while gateway.stats().revisions[f"{name}/1"].num_outstanding != 1:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(doomed.kill)
        while gateway.stats().revisions[f"{name}/1"].num_waiting != 1:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(route, replacement.route, name=name)
        return await asking

    assert b"x-replica: second" in asyncio.run(scenario())


def test_a_request_waits_while_its_service_scales_from_zero(
    gateway: GatewayProcess, mock: MockServerProcess, route: Route
) -> None:
    async def scenario() -> list[bytes]:
        name = await asyncio.to_thread(route, scales_from_zero=True)
        asking = [asyncio.create_task(fetch(gateway, post(name))) for _ in range(5)]
        while gateway.stats().revisions[f"{name}/1"].num_waiting != 5:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(route, mock.route, name=name, scales_from_zero=True)
        return await asyncio.gather(*asking)

    for response in asyncio.run(scenario()):
        assert b"x-replica: mock" in response


@pytest.mark.parametrize("where", ["unanswered", "streaming", "waiting"])
def test_a_client_disconnect_aborts_the_request_on_its_replica(
    gateway: GatewayProcess, route: Route, where: str
) -> None:
    left = asyncio.Event()
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read_message()
        if where == "streaming":
            await peer.send(EVENTS + b"9\r\ndata: 1\n\n\r\n")
        asked.set()
        await peer.read_to_end()
        left.set()

    async def scenario() -> None:
        limits = Limits(max_concurrency=1)
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route, limits=limits)
            client = await connect(gateway.port)
            await client.send(post(name))
            async with asyncio.timeout(60):
                await asked.wait()
                if where == "waiting":
                    second = await connect(gateway.port)
                    await second.send(post(name))
                    while gateway.stats().revisions[f"{name}/1"].num_waiting != 1:
                        await asyncio.sleep(0.01)
                    await second.close()
                    while gateway.stats().revisions[f"{name}/1"].num_waiting != 0:
                        await asyncio.sleep(0.01)
                if where == "streaming":
                    await client.read_until(b"data: 1")
                await client.close()
                await left.wait()
                while gateway.stats().revisions[f"{name}/1"].num_outstanding != 0:
                    await asyncio.sleep(0.01)
            assert gateway.stats().replicas["scripted"].num_failures_total == 0

    asyncio.run(scenario())


def test_backpressure_from_a_slow_client_reaches_its_replica(
    gateway: GatewayProcess, route: Route
) -> None:
    """Otherwise the whole response would be in the gateway's memory."""
    num_sent = 0
    num_in_all = 64 * 1024 * 1024
    is_slow = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal num_sent
        await peer.read_message()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % num_in_all)
        piece = b"x" * 65536
        while num_sent < num_in_all:
            peer.writer.write(piece)
            try:
                async with asyncio.timeout(1.0):
                    await peer.writer.drain()
            except TimeoutError:
                is_slow.set()
                await peer.writer.drain()
            num_sent += len(piece)

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await connect(gateway.port)
            await client.send(post(name))
            async with asyncio.timeout(60):
                await is_slow.wait()
            assert num_sent < num_in_all / 2
            head = await client.read_head()
            assert head.startswith(b"HTTP/1.1 200 OK")
            num_read = 0
            while num_read < num_in_all:
                num_read += len(await client.reader.read(1024 * 1024))
            await client.close()

    asyncio.run(scenario())
