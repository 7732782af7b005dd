"""OpenTelemetry: a span for each request that is proxied.

It is a child of the client's ``traceparent``, if there is one; the replica gets the span's own, so
that its spans are children of this one. A span has what the request's record has, and no text.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from headrace.core.gateway.request_records import RequestEnd, RequestRecord
from headrace.gateway.http.http_request import Request
from headrace.listen.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

SPAN_NAME = "gateway_request"
_NS_PER_S = 1_000_000_000
_ERROR_ENDS = (RequestEnd.CUT, RequestEnd.TIMEOUT, RequestEnd.FAILED)

Attributes = dict[str, str | int | float]


class RequestSpan:
    """Of a request in flight."""

    __slots__ = ("_span", "trace_headers")

    def __init__(self, span: Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.trace_headers = b"\r\ntraceparent: 00-%032x-%016x-%02x" % (
            context.trace_id,
            context.span_id,
            context.trace_flags,
        )
        """For the replica, after a line end."""

    def end(self, record: RequestRecord) -> None:
        from opentelemetry.trace import StatusCode

        if self._span.is_recording():
            self._span.set_attributes(span_attributes(record))
            if record.status >= 500 or record.end in _ERROR_ENDS:
                self._span.set_status(StatusCode.ERROR)
            for attempt in record.attempts:
                if attempt.outcome == "ok":
                    continue
                at_s = record.arrived_at + attempt.ended_s
                about = {"headrace.replica": attempt.replica_id, "outcome": attempt.outcome}
                self._span.add_event("failed_attempt", about, round(at_s * _NS_PER_S))
        self._span.end(round((record.arrived_at + record.total_s) * _NS_PER_S))


class SpanSource:
    """Begins the span of each request; ``close`` sends what is left."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._tracing = Tracing(exporter, "headrace.gateway")
        self.close = self._tracing.close

    def begin(self, request: Request) -> RequestSpan:
        """Takes the client's ``traceparent`` out of the request."""
        from opentelemetry.trace import SpanKind

        headers = {}
        if (parent := request.take_trace_parent()) is not None:
            headers["traceparent"] = parent.decode("latin-1")
            if (state := request.header(b"tracestate")) is not None:
                headers["tracestate"] = state.decode("latin-1")
        span = self._tracing.tracer.start_span(
            SPAN_NAME,
            context=self._tracing.parent_of(headers),
            kind=SpanKind.SERVER,
            start_time=time.time_ns(),
        )
        return RequestSpan(span)


def span_attributes(record: RequestRecord) -> Attributes:
    """Durations are in seconds."""
    optional = {
        "headrace.revision": record.revision,
        "headrace.replica": record.replica_id,
        "headrace.key": record.key,
        "error.type": record.error_code,
        "gen_ai.response.model": record.model,
        "gen_ai.usage.prompt_tokens": record.prompt_tokens,
        "gen_ai.usage.completion_tokens": record.completion_tokens,
        "gen_ai.latency.time_to_first_token": record.ttft_s,
    }
    return {
        "http.request.id": record.request_id,
        "http.request.method": record.method,
        "url.path": record.path,
        "http.response.status_code": record.status,
        "headrace.service": record.service,
        "headrace.end": str(record.end),
        "headrace.num_retries": record.num_retries,
        "gen_ai.latency.time_in_queue": record.queued_s,
        "gen_ai.latency.e2e": record.total_s,
        **{name: value for name, value in optional.items() if value is not None},
    }
