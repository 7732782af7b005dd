"""Spans of requests through a real gateway, received by a real OTLP receiver."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.core.gateway.routes import TargetRoute
from headrace.testing.processes.gateway_process import GatewayProcess
from headrace.testing.route_tables import service_route
from headrace.testing.servers.otlp_receiver import OtlpReceiver, attributes_of, receiving
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica, connect

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
TEXT = b"a secret of the user"


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def gateway(tmp_path: Path, receiver: OtlpReceiver, monkeypatch: Any) -> Iterator[GatewayProcess]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")  # ms between exports
    with GatewayProcess(tmp_path, "--otlp-traces-endpoint", receiver.url) as gateway:
        yield gateway


def send(gateway: GatewayProcess, replies: list[bytes | None], *headers: bytes) -> list[bytes]:
    """Send one request after the other; returns what the replica received. None: it disconnects."""
    received: list[bytes] = []
    left = list(replies)

    async def script(peer: Peer) -> None:
        while True:
            message = await peer.read_message()
            if message.startswith(b"GET /health"):
                await peer.send(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
                continue
            received.append(message)
            reply = left.pop(0)
            if reply is None:
                return
            await peer.send(reply)

    async def scenario() -> None:
        async with ScriptedReplica(script, "one") as one, ScriptedReplica(script, "two") as two:
            target = TargetRoute(1, 3000, 100, (one.route, two.route))
            await asyncio.to_thread(gateway.follow, service_route(target))
            client = await connect(gateway.port)
            lines = [b"POST /openllm/v1/x HTTP/1.1", b"host: localhost", *headers]
            head = b"\r\n".join([*lines, b"content-length: %d" % len(TEXT), b"", b""])
            while left:
                await client.send(head + TEXT)
                assert (await client.read_message()).startswith(b"HTTP/1.1 200 ")
            await client.close()

    asyncio.run(scenario())
    return received


def trace_parents(message: bytes) -> list[bytes]:
    head, _, _ = message.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    return [line.partition(b": ")[2] for line in lines if line.startswith(b"traceparent:")]


def test_the_replicas_spans_are_children_of_the_gateways_and_that_of_the_clients(
    gateway: GatewayProcess, receiver: OtlpReceiver
) -> None:
    parent = f"00-{TRACE_ID}-{PARENT_ID}-01".encode()
    received = send(gateway, [OK, OK], b"traceparent: " + parent, b"tracestate: vendor=1")
    spans = []
    for message in received:
        span, attributes, resource = receiver.next_span()
        spans.append(span)
        assert span.trace_id.hex() == TRACE_ID
        assert span.parent_span_id.hex() == PARENT_ID
        [forwarded] = trace_parents(message)
        assert forwarded == f"00-{TRACE_ID}-{span.span_id.hex()}-01".encode()
        assert b"tracestate: vendor=1" in message
        assert attributes["headrace.service"] == "openllm"
        assert attributes["headrace.revision"] == 1
        assert attributes["http.response.status_code"] == 200
        assert attributes["url.path"] == "/v1/x"
        assert resource["service.name"] == "headrace"
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert TEXT.decode() not in str(span)
    assert spans[0].span_id != spans[1].span_id  # although the heads are equal


def test_a_retry_is_an_event_and_an_unsampled_trace_has_no_span(
    gateway: GatewayProcess, receiver: OtlpReceiver
) -> None:
    unsampled = f"00-{TRACE_ID}-{PARENT_ID}-00".encode()
    [message] = send(gateway, [OK], b"traceparent: " + unsampled)
    [forwarded] = trace_parents(message)
    assert forwarded.endswith(b"-00")
    first, second = send(gateway, [None, OK])
    assert trace_parents(first) == trace_parents(second)
    span, attributes, _ = receiver.next_span()
    assert not span.parent_span_id
    assert attributes["headrace.num_retries"] == 1
    [event] = span.events
    assert event.name == "failed_attempt"
    assert attributes_of(event)["outcome"] == "cut"
    assert not receiver.has_more
