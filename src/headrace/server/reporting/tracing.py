"""OpenTelemetry: one span for each request that generates, with vLLM's attribute names.

A span is a child of the request's ``traceparent``, if it has one (W3C Trace Context). Spans have
counts and times, and neither prompts nor outputs. Needs the extra ``otlp``.
"""

import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headrace.core.errors import InvalidInputError
from headrace.core.outputs import FinishReason
from headrace.server.http.request_tracker import GenerationRecord, RequestRecord
from headrace.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

SPAN_NAME = "llm_request"
DEFAULT_PATH = "/v1/traces"
CLOSE_TIMEOUT_S = 5.0
_NS_PER_S = 1_000_000_000

Attributes = dict[str, str | int | float]


class RequestTracer:
    """Exports spans in the background. ``open_tracer`` makes one; ``close`` sends what is left."""

    def __init__(self, exporter: "SpanExporter") -> None:
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
        self._tracer = self._provider.get_tracer("headrace.server", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def export(self, record: RequestRecord) -> None:
        """A RequestObserver: queue the request's span."""
        from opentelemetry.trace import SpanKind, StatusCode

        generation = record.generation
        if generation is None:
            return
        now_ns = time.time_ns()
        span = self._tracer.start_span(
            SPAN_NAME,
            context=self._propagator.extract(record.headers),
            kind=SpanKind.SERVER,
            attributes=request_attributes(record, generation),
            start_time=now_ns - int(record.duration_s * _NS_PER_S),
        )
        if record.status >= 500 or FinishReason.ERROR in generation.finish_reasons:
            span.set_status(StatusCode.ERROR)
        span.end(now_ns)

    def close(self) -> None:
        """Send the queued spans, for at most CLOSE_TIMEOUT_S: a collector may be down."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT_S)


def open_tracer(endpoint: str) -> RequestTracer:
    """A tracer that sends OTLP over HTTP (protobuf). Variables such as OTEL_EXPORTER_OTLP_HEADERS
    take effect. Raises InvalidInputError if the extra is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise InvalidInputError(
            "--otlp-traces-endpoint needs OpenTelemetry. Install it: pip install 'headrace[otlp]'"
        ) from None
    return RequestTracer(OTLPSpanExporter(endpoint=_with_path(endpoint)))


def request_attributes(record: RequestRecord, generation: GenerationRecord) -> Attributes:
    """A span's attributes. Latencies are in seconds."""
    params = generation.params
    attributes: Attributes = {
        "gen_ai.request.id": generation.request_id,
        "gen_ai.response.model": generation.model,
        "gen_ai.request.n": params.n,
        "gen_ai.request.temperature": params.temperature,
        "gen_ai.request.top_p": params.top_p,
        "gen_ai.usage.num_sequences": generation.num_choices,
        "gen_ai.usage.prompt_tokens": generation.num_prompt_tokens,
        "gen_ai.usage.completion_tokens": generation.num_output_tokens,
        "gen_ai.latency.e2e": record.duration_s,
        "http.request.id": record.request_id,
    }
    if params.max_tokens is not None:
        attributes["gen_ai.request.max_tokens"] = params.max_tokens
    if generation.first_token_at is not None:
        attributes["gen_ai.latency.time_to_first_token"] = (
            generation.first_token_at - generation.arrived_at
        )
    return attributes | _engine_latencies(generation)


def _engine_latencies(generation: GenerationRecord) -> Attributes:
    times, last_token_at = generation.times, generation.last_token_at
    if times is None or last_token_at is None:
        return {}
    return {
        "gen_ai.latency.time_in_queue": times.scheduled - times.queued,
        "gen_ai.latency.time_in_model_prefill": times.first_token - times.scheduled,
        "gen_ai.latency.time_in_model_decode": max(last_token_at - times.first_token, 0.0),
        "gen_ai.latency.time_in_model_inference": max(last_token_at - times.scheduled, 0.0),
    }


def _with_path(endpoint: str) -> str:
    url = urlsplit(endpoint)
    return url._replace(path=DEFAULT_PATH).geturl() if url.path in ("", "/") else endpoint
