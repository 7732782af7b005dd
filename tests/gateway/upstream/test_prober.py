"""A replica is well when it answers in time, and not with a server's error."""

import asyncio

import pytest

from headrace.gateway.upstream.prober import is_healthy
from headrace.testing.scripted_replica import Peer, ScriptedReplica


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", True),
        (b"HTTP/1.1 503 Starting\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"no line end", False),
        (b"", False),
    ],
)
def test_the_answer_tells(answer: bytes, expected: bool) -> None:
    async def script(peer: Peer) -> None:
        assert (await peer.read_head()).startswith(b"GET /health HTTP/1.1\r\n")
        await peer.send(answer)

    async def scenario() -> bool:
        async with ScriptedReplica(script) as replica:
            return await is_healthy("127.0.0.1", replica.port)

    assert asyncio.run(scenario()) is expected


def test_silence_and_nobody_there_are_not_well() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_to_end()

    async def scenario() -> None:
        async with ScriptedReplica(script) as replica:
            port = replica.port
            assert not await is_healthy("127.0.0.1", port, timeout_s=0.05)
        assert not await is_healthy("127.0.0.1", port)

    asyncio.run(scenario())
