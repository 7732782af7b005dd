"""OpenTelemetry: one span for each request that generates, with vLLM's attribute names.

A span is a child of the request's ``traceparent``, if it has one (W3C Trace Context). Spans have
counts and times, and neither prompts nor outputs. Needs the extra ``otlp``.
"""

import time
from typing import TYPE_CHECKING

from headrace.core.generation.outputs import FinishReason
from headrace.listen.tracing import Tracing, otlp_exporter
from headrace.server.http.request_tracker import GenerationRecord, RequestRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

SPAN_NAME = "llm_request"
_NS_PER_S = 1_000_000_000

Attributes = dict[str, str | int | float]


class RequestTracer:
    """Exports spans in the background. ``open_tracer`` makes one; ``close`` sends what is left."""

    def __init__(self, exporter: "SpanExporter") -> None:
        self._tracing = Tracing(exporter, "headrace.server")
        self.close = self._tracing.close

    def export(self, record: RequestRecord) -> None:
        """A RequestObserver: queue the request's span."""
        from opentelemetry.trace import SpanKind, StatusCode

        generation = record.generation
        if generation is None:
            return
        now_ns = time.time_ns()
        span = self._tracing.tracer.start_span(
            SPAN_NAME,
            context=self._tracing.parent_of(record.headers),
            kind=SpanKind.SERVER,
            attributes=request_attributes(record, generation),
            start_time=now_ns - int(record.duration_s * _NS_PER_S),
        )
        if record.status >= 500 or FinishReason.ERROR in generation.finish_reasons:
            span.set_status(StatusCode.ERROR)
        span.end(now_ns)


def open_tracer(endpoint: str) -> RequestTracer:
    """A tracer that sends spans to this address. Raises InvalidInputError without the extra."""
    return RequestTracer(otlp_exporter(endpoint))


def request_attributes(record: RequestRecord, generation: GenerationRecord) -> Attributes:
    """A span's attributes. Latencies are in seconds."""
    params = generation.params
    attributes: Attributes = {
        "gen_ai.request.id": generation.request_id,
        "gen_ai.response.model": generation.model,
        "gen_ai.usage.num_sequences": generation.num_choices,
        "gen_ai.usage.prompt_tokens": generation.num_prompt_tokens,
        "gen_ai.usage.completion_tokens": generation.num_output_tokens,
        "gen_ai.latency.e2e": record.duration_s,
        "http.request.id": record.request_id,
    }
    if params is not None:
        attributes["gen_ai.request.n"] = params.n
        attributes["gen_ai.request.temperature"] = params.temperature
        attributes["gen_ai.request.top_p"] = params.top_p
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
