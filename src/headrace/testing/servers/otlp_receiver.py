"""An OTLP receiver over HTTP, for the spans of real processes. Needs the extra ``otlp``."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DEADLINE_S = 60.0


class OtlpReceiver:
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
def receiving() -> Iterator[OtlpReceiver]:
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
            yield OtlpReceiver(server, spans)
        finally:
            server.shutdown()
            thread.join()


def attributes_of(item: Any) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in item.attributes
    }
