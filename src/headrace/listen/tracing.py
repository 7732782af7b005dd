"""OpenTelemetry's tracer of one process. Spans are exported in the background over OTLP/HTTP.

Needs the extra ``otlp``.
"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headrace.core.errors import InvalidInputError
from headrace.version import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter

DEFAULT_PATH = "/v1/traces"
CLOSE_TIMEOUT_S = 5.0


class Tracing:
    """``tracer`` makes spans; ``close`` sends what is left."""

    def __init__(self, exporter: "SpanExporter", name: str) -> None:
        """``name``: of what makes the spans, such as ``headrace.server``."""
        from opentelemetry.sdk.resources import (
            SERVICE_NAME,
            SERVICE_VERSION,
            OTELResourceDetector,
            Resource,
        )
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        ours = Resource({SERVICE_NAME: "headrace", SERVICE_VERSION: __version__})
        self._provider: TracerProvider = TracerProvider(
            resource=ours.merge(OTELResourceDetector().detect()),  # OTEL_SERVICE_NAME takes effect
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self._provider.get_tracer(name, __version__)
        self._propagator = TraceContextTextMapPropagator()

    def parent_of(self, headers: Mapping[str, str]) -> "Context":
        """By ``traceparent`` and ``tracestate`` (W3C Trace Context), names in lower case."""
        return self._propagator.extract(headers)

    def close(self) -> None:
        """Send the queued spans, for at most CLOSE_TIMEOUT_S: a collector may be down."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT_S)


def otlp_exporter(endpoint: str) -> "SpanExporter":
    """Sends OTLP over HTTP (protobuf). Variables such as OTEL_EXPORTER_OTLP_HEADERS take effect.
    Raises InvalidInputError if the extra is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise InvalidInputError(
            "--otlp-traces-endpoint needs OpenTelemetry. Install it: pip install 'headrace[otlp]'"
        ) from None
    return OTLPSpanExporter(endpoint=_with_path(endpoint))


def _with_path(endpoint: str) -> str:
    url = urlsplit(endpoint)
    return url._replace(path=DEFAULT_PATH).geturl() if url.path in ("", "/") else endpoint
