"""A replica is healthy if it responds in time, without a server error."""

import asyncio

import pytest

from headrace.gateway.routing.ejection import ProbeOutcome
from headrace.gateway.upstream.prober import probe
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ProbeOutcome.HEALTHY),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", ProbeOutcome.HEALTHY),
        (b"HTTP/1.1 503 Starting\r\n\r\n", ProbeOutcome.UNHEALTHY),
        (b"SSH-2.0-OpenSSH\r\n", ProbeOutcome.UNHEALTHY),
        (b"no line end", ProbeOutcome.UNHEALTHY),
        (b"", ProbeOutcome.UNHEALTHY),
    ],
)
def test_the_response_decides_the_outcome(response: bytes, expected: ProbeOutcome) -> None:
    async def script(peer: Peer) -> None:
        assert (await peer.read_head()).startswith(b"GET /health HTTP/1.1\r\n")
        await peer.send(response)

    async def scenario() -> ProbeOutcome:
        async with ScriptedReplica(script) as replica:
            return await probe("127.0.0.1", replica.port)

    assert asyncio.run(scenario()) is expected


def test_a_timeout_differs_from_a_refused_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_to_end()

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            port = replica.port
            assert await probe("127.0.0.1", port, timeout_s=0.05) is ProbeOutcome.UNRESPONSIVE
        assert await probe("127.0.0.1", port) is ProbeOutcome.UNHEALTHY

    asyncio.run(scenario())
