"""Spans of requests, received by a real OTLP receiver over HTTP."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headrace.server.reporting.tracing import CLOSE_TIMEOUT_S
from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post, request

StartServer = Callable[..., ServerProcess]

DEADLINE_S = 60.0
SLACK_S = 10.0
"""Of a busy machine; less than the exporter's own patience."""
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
PROMPT = "a secret of the user"
BODY = {"model": "parrot", "prompt": PROMPT, "max_tokens": 5, "temperature": 0.5}
LATENCIES = (
    "time_to_first_token",
    "e2e",
    "time_in_queue",
    "time_in_model_prefill",
    "time_in_model_decode",
    "time_in_model_inference",
)


class Receiver:
    """An OTLP receiver on a free port; ``spans`` has what arrived."""

    def __init__(self, server: ThreadingHTTPServer, spans: "queue.Queue[Any]") -> None:
        self.url = f"http://127.0.0.1:{server.server_port}"
        self._spans = spans

    def next_span(self) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """A span, its attributes and its resource's."""
        resource, span = self._spans.get(timeout=DEADLINE_S)
        return span, attributes_of(span), attributes_of(resource)

    @property
    def has_more(self) -> bool:
        return not self._spans.empty()


@contextmanager
def receiving() -> Iterator[Receiver]:
    spans: queue.Queue[Any] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            content = self.rfile.read(int(self.headers["content-length"]))
            for group in ExportTraceServiceRequest.FromString(content).resource_spans:
                for scope in group.scope_spans:
                    for span in scope.spans:
                        spans.put((group.resource, span))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Receiver(server, spans)
        finally:
            server.shutdown()
            thread.join()


def attributes_of(item: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in item.attributes
    }


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def start_traced(start_server: StartServer, endpoint: str) -> ServerProcess:
    return start_server(
        *("parrot", "--served-model-name", "parrot", "--otlp-traces-endpoint", endpoint),
        env={"OTEL_BSP_SCHEDULE_DELAY": "50"},  # ms between exports
    )


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_span_is_a_child_of_the_traceparent_and_has_vllms_attributes(
    start_server: StartServer, receiver: Receiver, is_stream: bool
) -> None:
    server = start_traced(start_server, f"{receiver.url}/v1/traces")
    response = post(
        *(server.url, "/v1/completions", {**BODY, "stream": is_stream}),
        traceparent=f"00-{TRACE_ID}-{PARENT_ID}-01",
        X_Request_Id="from-client",
    )
    assert response.status == 200
    span, attributes, resource = receiver.next_span()
    assert span.name == "llm_request"
    assert span.trace_id.hex() == TRACE_ID
    assert span.parent_span_id.hex() == PARENT_ID
    assert span.start_time_unix_nano < span.end_time_unix_nano
    assert attributes["gen_ai.request.id"].startswith("cmpl-")
    assert attributes["gen_ai.response.model"] == "parrot"
    assert attributes["gen_ai.request.max_tokens"] == 5
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert attributes["gen_ai.request.n"] == 1
    assert attributes["gen_ai.usage.prompt_tokens"] == len(PROMPT)
    assert attributes["gen_ai.usage.completion_tokens"] == 5
    assert attributes["http.request.id"] == "from-client"
    times = {name: attributes[f"gen_ai.latency.{name}"] for name in LATENCIES}
    assert all(0 <= seconds <= times["e2e"] for seconds in times.values())
    assert times["time_in_model_prefill"] <= times["time_in_model_inference"]
    assert resource["service.name"] == "headrace"
    assert PROMPT not in str(span)


def test_requests_without_a_generation_and_unsampled_ones_have_no_span(
    start_server: StartServer, receiver: Receiver
) -> None:
    server = start_traced(start_server, receiver.url)  # the path is added
    assert request(server.url, "GET", "/v1/models").status == 200
    assert post(server.url, "/v1/completions", {**BODY, "max_tokens": -1}).status == 400
    unsampled = f"00-{TRACE_ID}-{PARENT_ID}-00"
    assert post(server.url, "/v1/completions", BODY, traceparent=unsampled).status == 200
    assert post(server.url, "/v1/completions", BODY, traceparent="nonsense").status == 200
    span, attributes, _ = receiver.next_span()
    assert span.trace_id.hex() != TRACE_ID
    assert not span.parent_span_id
    assert attributes["gen_ai.usage.completion_tokens"] == 5
    server.stop()
    assert not receiver.has_more


def test_spans_are_sent_at_shutdown(start_server: StartServer, receiver: Receiver) -> None:
    server = start_server(
        *("parrot", "--served-model-name", "parrot", "--otlp-traces-endpoint", receiver.url),
        env={"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_SERVICE_NAME": "chat"},
    )
    assert post(server.url, "/v1/completions", BODY).status == 200
    assert server.stop() == 0
    _, _, resource = receiver.next_span()
    assert resource["service.name"] == "chat"


def test_a_collector_that_is_down_delays_neither_responses_nor_exit(
    start_server: StartServer,
) -> None:
    with receiving() as receiver:
        endpoint = receiver.url
    server = start_traced(start_server, endpoint)
    assert post(server.url, "/v1/completions", BODY).status == 200
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < CLOSE_TIMEOUT_S + SLACK_S


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [("grpc://localhost:4317", "OTLP over HTTP"), ("localhost:4318", "http:// or https:// URL")],
)
def test_an_endpoint_that_cannot_be_used_is_refused(
    start_server: StartServer, endpoint: str, reason: str
) -> None:
    with pytest.raises(RuntimeError, match=reason):
        start_traced(start_server, endpoint)
