"""Records requests when they have ended: counters, the last requests, lines of the log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from heapq import merge

from headrace.core.gateway.request_records import RequestQuery, RequestRecord
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.http.http_request import Request
from headrace.gateway.reporting.request_span import SpanSource
from headrace.gateway.reporting.request_trace import (
    MAX_NUM_PENDING_GAPS,
    OK_STATUS,
    RequestTrace,
    StreamMeter,
)
from headrace.gateway.routing.counters import REPLICA_ERROR, TrafficCounts
from headrace.gateway.routing.decisions import Outcome, ServiceMatch
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ServiceState


class RequestLog:
    """Of one gateway."""

    def __init__(
        self,
        router: Router,
        max_num_records: int,
        write: Callable[[RequestRecord], None] | None = None,
        spans: SpanSource | None = None,
    ) -> None:
        """``write`` is called with each request that has ended."""
        self._spans = spans
        self._unix_offset_s = _unix_offset_s()
        self._router = router
        self._write = write
        self._ended: deque[RequestTrace] = deque(maxlen=max_num_records)
        """The last one on the right."""
        self._rejected: deque[RequestTrace] = deque(maxlen=max_num_records)
        """Those that were rejected by their heads, so that clients without a key cannot displace
        the requests of others."""

    def set_clock(self) -> None:
        """Follow the system's clock. Call it about once a second."""
        self._unix_offset_s = _unix_offset_s()

    def begin(
        self, match: ServiceMatch, request: Request, record_id: bytes, now: float
    ) -> RequestTrace:
        """Of a request that arrives."""
        trace = RequestTrace(match, request, record_id, now)
        if self._spans is not None:
            trace.span = self._spans.begin(request)
        return trace

    def ended(
        self,
        service: ServiceState,
        trace: RequestTrace,
        added_s: float | None,
        is_server_error: bool,
    ) -> None:
        """``added_s``: the latency that the gateway added; ``is_server_error``: the replica's
        response is an error."""
        status = trace.status
        counts = self._router.count_response(
            service, trace.revision, status, added_s, trace.key_name, trace.model
        )
        usage = trace.usage
        if usage is not None:
            counts.num_prompt_tokens += usage.prompt_tokens
            counts.num_completion_tokens += usage.completion_tokens
            counts.num_cached_tokens += usage.cached_tokens
        elif status == OK_STATUS and trace.outcome is Outcome.OK:
            counts.num_without_usage += trace.method == b"POST"
        if trace.stream is not None:
            _count_stream(counts, trace, trace.stream)
        if trace.failed_attempts is not None or trace.queued_s:
            counts.num_retries += trace.num_retries
            if trace.queued_s:
                counts.queue.observe(trace.queued_s)
        if trace.error_code is not None:
            counts.count_error(trace.error_code, status)
        elif is_server_error:
            counts.count_error(REPLICA_ERROR, status)
        self._store(trace, self._ended)

    def rejected(
        self, match: ServiceMatch, request: Request, error: ErrorResponse, record_id: bytes
    ) -> None:
        """A request that is rejected by its head, or because its body is too large."""
        now = time.monotonic()
        trace = self.begin(match, request, record_id, now)
        trace.end(Outcome.TIMEOUT, error.status, now, error=error)
        counts = self._router.count_response(
            match.service, None, error.status, None, request.key_name
        )
        counts.count_error(error.code, error.status)
        self._store(trace, self._rejected)

    def count_gaps(self, service: ServiceState, trace: RequestTrace, stream: StreamMeter) -> None:
        """Count the pending gaps of a stream that continues, if they are many."""
        if stream.num_pending >= MAX_NUM_PENDING_GAPS:
            counts = service.traffic_of(trace.revision, trace.key_name, stream.model)
            counts.inter_token.observe_all(stream.take())

    def find(self, query: RequestQuery) -> list[RequestRecord]:
        """The newest ones that match, oldest first."""
        found: list[RequestRecord] = []
        for trace in self._matching(query):
            if len(found) == query.limit:
                break
            found.append(trace.record())
        return found[::-1]

    def _store(self, trace: RequestTrace, traces: deque[RequestTrace]) -> None:
        trace.unix_offset_s = self._unix_offset_s
        traces.append(trace)
        span, trace.span = trace.span, None
        if self._write is None and span is None:
            return
        record = trace.record()
        if self._write is not None:
            self._write(record)
        if span is not None:
            span.end(record)

    def _matching(self, query: RequestQuery) -> Iterator[RequestTrace]:
        """Newest first."""
        newest_first = merge(
            reversed(self._ended), reversed(self._rejected), key=lambda trace: -trace.ended_at
        )
        is_before = query.before is None
        for trace in newest_first:
            record_id = trace.record_id.decode()
            if is_before and _matches(trace, query, record_id):
                yield trace
            is_before = is_before or record_id == query.before


def _count_stream(counts: TrafficCounts, trace: RequestTrace, stream: StreamMeter) -> None:
    assert trace.ttft_s is not None
    counts.stream_ttft.observe(trace.ttft_s)
    counts.inter_token.observe_all(stream.take())


def _matches(trace: RequestTrace, query: RequestQuery, record_id: str) -> bool:
    return (
        query.service in (None, trace.service)
        and query.revision in (None, trace.revision)
        and query.key in (None, trace.key_name)
        and query.record_id in (None, record_id)
        and (query.status is None or _has_status(trace.status, query.status))
        and trace.ended_at - trace.arrived_at >= query.min_duration_s
    )


def _has_status(status: int, wanted: str) -> bool:
    """``wanted``: ``404``, or ``4xx``."""
    return str(status) == wanted or f"{status // 100}xx" == wanted


def _unix_offset_s() -> float:
    """Added to the monotonic time gives Unix time. The highest of three: one is too low if the
    process is suspended between the two calls."""
    return max(time.time() - time.monotonic() for _ in range(3))
