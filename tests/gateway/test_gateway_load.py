"""No request is dropped under load: rollouts, killed replicas, many requests at once."""

import asyncio
import itertools
import json
from collections.abc import Callable

import pytest

from headrace.core.gateway.routes import Limits
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.processes.replica_process import MockServerProcess
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica, connect

Route = Callable[..., str]
StartMock = Callable[..., MockServerProcess]

WHOLE = json.dumps({"prompt": "x", "max_tokens": 3}).encode()
STREAM = json.dumps({"prompt": "x", "max_tokens": 10, "stream": True}).encode()


def post(service: str, body: bytes) -> bytes:
    return b"POST /%b/v1/completions HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%b" % (
        service.encode(),
        len(body),
        body,
    )


async def fetch_on(client: Peer, service: str, body: bytes) -> bytes:
    await client.send(post(service, body))
    return await client.read_message()


def test_a_rollout_under_load_drops_no_request(
    gateway: GatewayProcess, start_mock: StartMock, route: Route
) -> None:
    """As in a rollout: the new replica is routed to, the old one is removed, its requests
    end, it gets SIGTERM."""
    pace = ("--tokens-per-s", "100", "--first-token-s", "0.02")
    names = (f"r{number}" for number in itertools.count())
    is_over = False

    async def keep_asking(service: str, body: bytes) -> list[bytes]:
        client = await connect(gateway.port)
        responses = []
        while not is_over:
            responses.append(await fetch_on(client, service, body))
        await client.close()
        return responses

    async def scenario() -> list[list[bytes]]:
        nonlocal is_over
        replicas = [await asyncio.to_thread(start_mock, *pace, name=next(names)) for _ in range(2)]
        service = await asyncio.to_thread(route, *(replica.route for replica in replicas))
        asking = [asyncio.create_task(keep_asking(service, body)) for body in (WHOLE, STREAM) * 12]
        for _ in range(6):
            replicas.append(await asyncio.to_thread(start_mock, *pace, name=next(names)))
            leaving = replicas.pop(0)
            routes = [replica.route for replica in replicas]
            await asyncio.to_thread(route, *routes, name=service)
            while leaving.name in (stats := await asyncio.to_thread(gateway.stats)).replicas:
                assert stats.replicas[leaving.name].num_failures_total == 0
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(leaving.stop) == 0
        is_over = True
        return await asyncio.gather(*asking)

    responses = list(itertools.chain.from_iterable(asyncio.run(scenario())))
    assert len(responses) > 100
    for response in responses:
        assert response.startswith(b"HTTP/1.1 200 OK")
        assert b"upstream_cut" not in response
    assert len({response.split(b"x-replica: ")[1].split(b"\r\n")[0] for response in responses}) == 8


@pytest.mark.slow
def test_retries_beyond_the_budget_are_delayed(
    gateway: GatewayProcess, start_mock: StartMock, route: Route
) -> None:
    doomed = start_mock("--first-token-s", "60", name="doomed")
    other = start_mock(name="other")
    num = 250

    async def scenario() -> list[bytes]:
        service = await asyncio.to_thread(route, doomed.route)
        clients = [await connect(gateway.port) for _ in range(num)]
        asking = [asyncio.create_task(fetch_on(client, service, WHOLE)) for client in clients]
        while gateway.stats().replicas["doomed"].num_outstanding != num:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(route, doomed.route, other.route, name=service)
        await asyncio.to_thread(doomed.kill)
        responses = await asyncio.gather(*asking)
        for client in clients:
            await client.close()
        return responses

    for response in asyncio.run(scenario()):
        assert b"x-replica: other" in response


def test_a_thousand_concurrent_refused_requests_get_responses(
    gateway: GatewayProcess, route: Route
) -> None:
    service = route(scales_from_zero=True, limits=Limits(max_queue=0))
    num = 1500

    async def scenario() -> None:
        client = await connect(gateway.port)
        await client.send(post(service, b"{}") * num)
        for _ in range(num):
            assert (await client.read_message()).startswith(b"HTTP/1.1 429 ")
        await client.close()

    asyncio.run(scenario())


def test_an_early_response_to_a_long_request_closes_the_connection(
    gateway: GatewayProcess, route: Route
) -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            seen.append(await peer.read_head())
            await peer.send(b"HTTP/1.1 413 Too long\r\ncontent-length: 0\r\n\r\n")
            await go_on.wait()

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            service = await asyncio.to_thread(route, replica.route)
            for body in (b"x" * 20_000_000, b"{}"):
                client = await connect(gateway.port)
                response = await fetch_on(client, service, body)
                assert response.startswith(b"HTTP/1.1 413 ")
                await client.close()
            go_on.set()
            assert replica.num_connections == 2
        assert all(head.startswith(b"POST /v1/completions") for head in seen)

    go_on = asyncio.Event()
    asyncio.run(scenario())
