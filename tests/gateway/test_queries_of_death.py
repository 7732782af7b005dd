"""One request that crashes every replica, with concurrent requests: real servers that exit."""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.core.gateway.routes import Limits, ReplicaRoute
from headrace.http1.connection import STALE_AFTER_S
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MortalServerProcess
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica, connect

Route = Callable[..., str]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Mortals:
    """Servers that some requests crash, and the number of crashes."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._ends = folder / "ends"
        self.processes: list[MortalServerProcess] = []

    def start(self, number: int) -> list[ReplicaRoute]:
        for _ in range(number):
            name = f"mortal-{time.monotonic_ns()}"
            process = MortalServerProcess(self._ends, name)
            self.processes.append(self._stack.enter_context(process))
        return [process.route for process in self.processes]

    @property
    def num_ended(self) -> int:
        return len(self._ends.read_text().splitlines()) if self._ends.exists() else 0

    def living(self) -> list[ReplicaRoute]:
        """Those that the control plane would leave in the table."""
        return [process.route for process in self.processes if process.is_running]


@pytest.fixture
def mortals(tmp_path: Path) -> Iterator[Mortals]:
    with ExitStack() as stack:
        yield Mortals(stack, tmp_path)


def post(service: str, body: dict[str, str], method: bytes = b"POST") -> bytes:
    data = json.dumps(body).encode()
    head = b"%b /%b/v1/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b"
    return head % (method, service.encode(), len(data), data)


async def fetch(gateway: GatewayProcess, request: bytes) -> bytes:
    client = await connect(gateway.port)
    await client.send(request)
    response = await client.read_message()
    await client.close()
    return response


def test_a_crashing_request_ends_three_replicas_and_is_refused(
    gateway: GatewayProcess, route: Route, mortals: Mortals
) -> None:
    name = route(*mortals.start(5))

    async def scenario() -> None:
        lethal = post(name, {"end": "exit"})
        response = await fetch(gateway, lethal)
        assert response.startswith(b"HTTP/1.1 422 ")
        assert b'"request_kills_replicas"' in response
        assert mortals.num_ended == 3
        for _ in range(10):
            assert (await fetch(gateway, lethal)).startswith(b"HTTP/1.1 422 ")
            assert (await fetch(gateway, post(name, {}))).startswith(b"HTTP/1.1 200 ")
        assert mortals.num_ended == 3
        # A different body is a different request.
        assert (await fetch(gateway, post(name, {"end": "no"}))).startswith(b"HTTP/1.1 200 ")

    asyncio.run(scenario())
    [reported] = [one for one in gateway.stats().quarantined if one.service == name]
    assert (reported.revisions, reported.num_replicas) == ((1,), 3)
    assert 0 < reported.refused_s <= 600


def test_a_stale_connection_does_not_hide_a_crashing_request(
    gateway: GatewayProcess, route: Route, mortals: Mortals
) -> None:
    """It may have been closed before the request arrived: it is sent once more to that replica."""
    name = route(*mortals.start(5))

    async def scenario() -> None:
        for _ in range(5):
            assert (await fetch(gateway, post(name, {}))).startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(STALE_AFTER_S + 0.1)
        response = await fetch(gateway, post(name, {"end": "exit"}))
        assert response.startswith(b"HTTP/1.1 422 ")
        assert mortals.num_ended == 3

    asyncio.run(scenario())


@pytest.mark.parametrize("end", ["error", "stream"])
def test_a_response_before_the_crash_does_not_hide_a_crashing_request(
    gateway: GatewayProcess, route: Route, mortals: Mortals, end: str
) -> None:
    """A server whose engine died responds with an error and exits. Its client retries."""
    name = route(*mortals.start(5))

    async def scenario() -> int:
        num_asked = 0
        while True:
            response = await fetch(gateway, post(name, {"end": end}))
            if response.startswith(b"HTTP/1.1 422 "):
                return num_asked
            num_asked += 1
            assert num_asked <= 3
            async with asyncio.timeout(60):
                while len(mortals.living()) > 5 - num_asked:
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(route, *mortals.living(), name=name)
                while len(gateway.stats().replicas.keys() & _names(mortals)) > 5 - num_asked:
                    await asyncio.sleep(0.01)

    assert asyncio.run(scenario()) == 3
    assert mortals.num_ended == 3


def _names(mortals: Mortals) -> set[str]:
    return {process.name for process in mortals.processes}


def test_concurrent_requests_are_completed(
    gateway: GatewayProcess, route: Route, mortals: Mortals, tmp_path: Path
) -> None:
    """They are lost with it until it is confirmed."""
    name = route(*mortals.start(4))
    go_on = tmp_path / "go on"

    async def scenario() -> None:
        others = [
            asyncio.create_task(fetch(gateway, post(name, {"hold": str(go_on), "n": str(number)})))
            for number in range(24)
        ]
        while gateway.stats().revisions[f"{name}/1"].num_outstanding != len(others):
            await asyncio.sleep(0.01)
        asking = asyncio.create_task(fetch(gateway, post(name, {"end": "exit"})))
        while mortals.num_ended < 2:
            await asyncio.sleep(0.01)
        go_on.touch()  # isolated requests may occupy both replicas, and the cause waits
        assert (await asking).startswith(b"HTTP/1.1 422 ")
        for response in await asyncio.gather(*others):
            assert response.startswith(b"HTTP/1.1 200 ")
        assert mortals.num_ended == 3

    asyncio.run(scenario())
    assert len([one for one in gateway.stats().quarantined if one.service == name]) == 1


def test_simultaneously_killed_replicas_cause_no_refusal(
    gateway: GatewayProcess, route: Route, mortals: Mortals, tmp_path: Path
) -> None:
    name = route(*mortals.start(3))
    go_on = tmp_path / "go on"
    go_on.touch()

    async def scenario() -> None:
        for _ in range(3):
            go_on.unlink()
            copies = [
                asyncio.create_task(fetch(gateway, post(name, {"hold": str(go_on)})))
                for _ in range(6)
            ]
            while gateway.stats().revisions[f"{name}/1"].num_outstanding != len(copies):
                await asyncio.sleep(0.01)
            for process in mortals.processes:
                process.send_signal(signal.SIGKILL)
            while mortals.living():
                await asyncio.sleep(0.001)
            go_on.touch()
            await asyncio.to_thread(lambda: mortals.start(3))
            await asyncio.to_thread(route, *mortals.living(), name=name)
            for response in await asyncio.gather(*copies):
                assert response.startswith(b"HTTP/1.1 200 ")

    asyncio.run(scenario())
    assert not [one for one in gateway.stats().quarantined if one.service == name]


@pytest.mark.parametrize("method", [b"POST", b"GET", b"HEAD", b"DELETE"])
def test_a_request_cut_on_live_replicas_is_sent_at_most_three_times(
    gateway: GatewayProcess, route: Route, method: bytes
) -> None:
    num_asked = 0

    async def script(peer: Peer) -> None:
        nonlocal num_asked
        head = await peer.read_head()
        if head.startswith(b"GET /health"):
            await peer.send(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
            return
        num_asked += 1

    async def scenario() -> None:
        async with ExitStackOf(ScriptedReplica(script, f"cut-{n}") for n in range(6)) as replicas:
            name = await asyncio.to_thread(route, *(one.route for one in replicas))
            for turn in range(1, 4):
                client = await connect(gateway.port)
                await client.send(
                    b"%b /%b/v1/x HTTP/1.1\r\nhost: localhost\r\n\r\n" % (method, name.encode())
                )
                response = await client.read_head()
                await client.close()
                assert response.startswith(b"HTTP/1.1 502 ")
                assert num_asked == 3 * turn

    asyncio.run(scenario())


@pytest.mark.parametrize(("status", "num_expected"), [(502, 3), (504, 3), (503, 6)])
def test_error_responses_are_retried_on_other_replicas(
    gateway: GatewayProcess, route: Route, status: int, num_expected: int
) -> None:
    """503 means that nothing was processed, so each replica may be tried; others are ambiguous.
    The last response is forwarded to the client."""
    num_asked = 0

    async def script(peer: Peer) -> None:
        nonlocal num_asked
        while True:
            if (await peer.read_message()).startswith(b"GET /health"):
                await peer.send(OK)
                continue
            num_asked += 1
            await peer.send(b"HTTP/1.1 %d No\r\ncontent-length: 8\r\n\r\n" % status)
            await peer.send(b"draining")

    async def scenario() -> None:
        async with ExitStackOf(ScriptedReplica(script, f"no-{n}") for n in range(6)) as replicas:
            name = await asyncio.to_thread(route, *(one.route for one in replicas))
            response = await fetch(gateway, post(name, {}))
            assert response.startswith(b"HTTP/1.1 %d No" % status)
            assert response.endswith(b"draining")
            assert num_asked == num_expected

    asyncio.run(scenario())


def test_the_queue_timeout_spans_all_waits(gateway: GatewayProcess, route: Route) -> None:
    """A replica becomes ready, gets the request and exits before each queue timeout."""
    num_asked = 0

    async def script(peer: Peer) -> None:
        nonlocal num_asked
        head = await peer.read_head()
        if head.startswith(b"GET /health"):
            return
        num_asked += 1

    async def scenario() -> bytes:
        limits = Limits(queue_timeout_s=1.0)
        name = await asyncio.to_thread(route, scales_from_zero=True, limits=limits)
        asking = asyncio.create_task(fetch(gateway, post(name, {})))
        began_at = time.monotonic()
        for turn in range(2):
            while time.monotonic() - began_at < 0.6 * (turn + 1):
                await asyncio.sleep(0.01)
            if asking.done():
                break
            async with ScriptedReplica(script, f"short-{turn}") as replica:
                options = {"name": name, "scales_from_zero": True, "limits": limits}
                await asyncio.to_thread(route, replica.route, **options)
                while num_asked == turn and not asking.done():
                    await asyncio.sleep(0.005)
            await asyncio.to_thread(route, **options)
        async with asyncio.timeout(60):
            return await asking

    response = asyncio.run(scenario())
    assert response.startswith(b"HTTP/1.1 503 ")
    assert num_asked <= 1


class ExitStackOf:
    """Several replicas at once."""

    def __init__(self, replicas: Iterator[ScriptedReplica]) -> None:
        self._replicas = list(replicas)

    async def __aenter__(self) -> list[ScriptedReplica]:
        return [await one.__aenter__() for one in self._replicas]

    async def __aexit__(self, *error: object) -> None:
        for one in self._replicas:
            await one.__aexit__(None, None, None)
