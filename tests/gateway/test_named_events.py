"""Streams of the Responses and the Messages API through the gateway: tokens, times and errors."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from headrace.core.gateway.request_records import RequestRecord
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica, connect

Route = Callable[..., str]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DEADLINE_S = 30.0


def event(kind: str, **fields: Any) -> bytes:
    data = json.dumps({"type": kind, **fields}).encode()
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


PREAMBLES = {
    "/v1/responses": event("response.created", response={"model": "m"})
    + event("response.in_progress", response={"model": "m"}),
    "/v1/messages": event(
        "message_start",
        message={"model": "m", "usage": {"input_tokens": 5, "cache_read_input_tokens": 32}},
    )
    + event("ping"),
}
TOKENS = {
    "/v1/responses": event("response.output_text.delta", delta="Hi"),
    "/v1/messages": event("content_block_delta", delta={"text": "Hi"}),
}
ENDS = {
    "/v1/responses": event(
        "response.completed",
        response={
            "output": [{"text": "x" * 100_000}],
            "model": "m",
            "usage": {
                "input_tokens": 37,
                "input_tokens_details": {"cached_tokens": 32},
                "output_tokens": 2,
            },
        },
    ),
    "/v1/messages": event("message_delta", usage={"output_tokens": 2}) + event("message_stop"),
}
paths = pytest.mark.parametrize("path", PREAMBLES)


async def record_of(gateway: GatewayProcess, service: str) -> RequestRecord:
    async with asyncio.timeout(DEADLINE_S):
        while not (records := await asyncio.to_thread(gateway.requests, service=service)):
            await asyncio.sleep(0.01)
    [record] = records
    return record


async def send(gateway: GatewayProcess, service: str, path: str) -> Peer:
    client = await connect(gateway.port)
    head = f"POST /{service}{path} HTTP/1.1\r\nhost: h\r\n"
    head += "connection: close\r\ncontent-length: 2\r\n\r\n{}"
    await client.send(head.encode())
    return client


@paths
def test_the_first_token_ends_the_time_to_the_first_token(
    gateway: GatewayProcess, route: Route, path: str
) -> None:
    async def scenario() -> tuple[RequestRecord, float]:
        has_come = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.read_message()
            await peer.send(HEAD + chunk(PREAMBLES[path]))
            await has_come.wait()
            await peer.send(chunk(TOKENS[path]))
            await peer.send(chunk(TOKENS[path]))
            await peer.send(chunk(ENDS[path]) + b"0\r\n\r\n")

        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await send(gateway, name, path)
            await client.read_until(b"\n\n")
            clock = asyncio.get_running_loop().time
            begun = clock()
            while clock() - begun < 0.1:  # the prefill of another server
                await asyncio.sleep(0.01)
            waited = clock() - begun
            has_come.set()
            await client.read_to_end()
            return await record_of(gateway, name), waited

    record, between = asyncio.run(scenario())
    assert record.ttft_s is not None
    assert record.ttft_s >= between
    assert record.num_chunks <= 3
    assert record.max_gap_s is None or record.max_gap_s < between
    assert (record.model, record.end) == ("m", "finished")
    assert (record.prompt_tokens, record.completion_tokens, record.cached_tokens) == (37, 2, 32)


@paths
def test_a_stream_that_is_cut_ends_with_an_error_that_clients_raise(
    gateway: GatewayProcess, route: Route, path: str
) -> None:
    async def scenario() -> bytes:
        async def script(peer: Peer) -> None:
            await peer.read_message()
            await peer.send(HEAD + chunk(PREAMBLES[path] + TOKENS[path]))

        async with ScriptedReplica(script) as replica:
            name = await asyncio.to_thread(route, replica.route)
            client = await send(gateway, name, path)
            return await client.read_to_end()

    answer = asyncio.run(scenario())
    *_, name, data, _, _, _ = answer.split(b"\n")
    assert name == b"event: error"
    error = json.loads(data.removeprefix(b"data: "))
    assert (error["type"], error["error"]["code"]) == ("error", "upstream_cut")
