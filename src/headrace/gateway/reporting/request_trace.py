"""What is noted of one request while it is proxied, and stored when it has ended.

It refers to nothing that holds text or keys of the request. Its times become a `RequestRecord` when
it is read.
"""

from __future__ import annotations

from headrace.core.gateway.request_records import AttemptRecord, RequestEnd, RequestRecord
from headrace.gateway.attempt import Attempt
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.http.http_request import Request
from headrace.gateway.http.response_writer import ResponseWriter
from headrace.gateway.http.usage import ModelAndUsage, Usage, read_first_event
from headrace.gateway.reporting.request_span import RequestSpan
from headrace.gateway.routing.decisions import Outcome, ServiceMatch
from headrace.gateway.routing.topology import MAX_MODEL_LENGTH

OK_STATUS = 200
"""The only one of which model and usage are read."""
MAX_NUM_PENDING_GAPS = 64
"""Of a stream. More are counted before it ends."""

MAX_ID_BYTES = 128
MAX_PATH_BYTES = 256

_ENDS = {
    "queue_timeout": RequestEnd.TIMEOUT,
    "upstream_timeout": RequestEnd.TIMEOUT,
    "upstream_cut": RequestEnd.CUT,
    "upstream_failed": RequestEnd.FAILED,
}
"""By the code of the gateway's error; others mean that the request was rejected."""


class StreamMeter:
    """The times between the chunks of one event stream, in seconds."""

    __slots__ = (
        "_pending",
        "first_usage",
        "max_s",
        "model",
        "note_gap",
        "num_gaps",
        "sum_s",
    )

    def __init__(self, model: str, usage: Usage | None = None) -> None:
        """Both as its first event has them."""
        self.model = model
        """May be empty."""
        self.first_usage = usage
        self._pending: list[float] = []
        self.note_gap = self._pending.append
        """For the data path: this long after the last chunk, another one came."""
        self.num_gaps = 0
        """Of those that were taken; this and the next two."""
        self.sum_s = 0.0
        self.max_s = 0.0

    @property
    def num_pending(self) -> int:
        return len(self._pending)

    def take(self) -> list[float]:
        """The gaps since the last call, to be counted elsewhere."""
        gaps = self._pending.copy()
        if gaps:
            self._pending.clear()
            self.num_gaps += len(gaps)
            self.sum_s += sum(gaps)
            self.max_s = max(self.max_s, max(gaps))
        return gaps


class RequestTrace:
    """Of one request. Times are monotonic. `end` sets the fields that it declares."""

    __slots__ = (
        "arrived_at",
        "began_at",
        "client_request_id",
        "ended_at",
        "error_code",
        "failed_attempts",
        "key_name",
        "method",
        "model",
        "outcome",
        "path",
        "queued_s",
        "queued_since",
        "record_id",
        "replica_id",
        "revision",
        "sent_at",
        "service",
        "span",
        "status",
        "stream",
        "ttft_s",
        "unix_offset_s",
        "usage",
    )

    def __init__(
        self, match: ServiceMatch, request: Request, record_id: bytes, arrived_at: float
    ) -> None:
        self.service = match.service.name
        path = match.path
        self.path = path if len(path) <= MAX_PATH_BYTES else path[:MAX_PATH_BYTES]
        """With the query, as far as it fits."""
        self.method = request.method
        self.key_name = request.key_name
        request_id = request.inspected.get(b"x-request-id")
        self.client_request_id = None if request_id is None else request_id[:MAX_ID_BYTES]
        self.record_id = record_id
        self.arrived_at = arrived_at
        self.failed_attempts: list[AttemptRecord] | None = None
        """Those after which the request was not answered."""
        self.queued_s = 0.0
        """In the queue, before the last time that it was queued."""
        self.queued_since: float | None = None
        """When it was queued, while it is in the queue."""
        self.revision: int | None = None
        """Of the last replica that was chosen."""
        self.stream: StreamMeter | None = None
        """Of an event stream that has begun."""
        self.ttft_s: float | None = None
        self.span: RequestSpan | None = None
        """Until it has ended; if requests are traced."""
        self.unix_offset_s = 0.0
        """Added to the monotonic time gives Unix time. Set when it has ended."""

    # for the data path

    @property
    def is_undisturbed(self) -> bool:
        """It was neither queued nor retried, so that its latency here is the gateway's alone."""
        return self.failed_attempts is None and not self.queued_s and self.queued_since is None

    def begin_wait(self, now: float) -> None:
        if self.queued_since is None:
            self.queued_since = now

    def end_wait(self, now: float) -> None:
        if self.queued_since is not None:
            self.queued_s += now - self.queued_since
            self.queued_since = None

    def total_queued_s(self, now: float) -> float:
        """All waits up to now."""
        since = self.queued_since
        return self.queued_s if since is None else self.queued_s + now - since

    def attempt_failed(
        self, attempt: Attempt, outcome: Outcome, now: float, status: int | None = None
    ) -> None:
        """The attempt did not answer the request."""
        if self.failed_attempts is None:
            self.failed_attempts = []
        self.failed_attempts.append(
            AttemptRecord(
                replica_id=attempt.replica.replica_id,
                revision=attempt.replica.revision,
                began_s=attempt.began_at - self.arrived_at,
                sent_s=attempt.sent_at - self.arrived_at if attempt.was_sent else None,
                ended_s=now - self.arrived_at,
                outcome=outcome.name.lower(),
                status=status,
            )
        )

    def stream_began(self, first_part: bytes, status: int) -> StreamMeter:
        first = read_first_event(first_part) if status == OK_STATUS else ModelAndUsage()
        self.stream = StreamMeter(first.model, first.usage)
        return self.stream

    def end(
        self,
        outcome: Outcome,
        status: int,
        now: float,
        attempt: Attempt | None = None,
        response: ResponseWriter | None = None,
        error: ErrorResponse | None = None,
    ) -> None:
        """``attempt``: the last one, unless it is among the failed ones; ``response``: the
        replica's, if it has begun; ``error``: the gateway's own."""
        self.outcome = outcome
        self.status = status
        self.ended_at = now
        self.error_code = None if error is None else error.code
        if attempt is None:
            self.replica_id: str | None = None
        else:
            self.replica_id = attempt.replica.replica_id
            self.began_at = attempt.began_at
            self.sent_at = attempt.sent_at if attempt.was_sent else None
        is_read = status == OK_STATUS and outcome is Outcome.OK and self.method == b"POST"
        if response is not None and is_read:
            read = response.read_usage()
            self.usage = read.usage
            self.model = read.model
        else:
            self.usage = None
            self.model = ""
        stream = self.stream
        if stream is not None:
            self.model = stream.model or self.model
            first, last = stream.first_usage, self.usage
            if first is not None and last is not None and not last.prompt_tokens:
                self.usage = Usage(first.prompt_tokens, last.completion_tokens, first.cached_tokens)
        if self.queued_since is not None:
            self.end_wait(now)

    # for its readers

    @property
    def num_retries(self) -> int:
        num_attempts = len(self.failed_attempts or ()) + (self.replica_id is not None)
        return max(0, num_attempts - 1)

    def record(self) -> RequestRecord:
        stream, usage, attempts = self.stream, self.usage, self._attempts()
        mean_gap_s = max_gap_s = None
        if stream is not None and stream.num_gaps:
            mean_gap_s, max_gap_s = stream.sum_s / stream.num_gaps, stream.max_s
        return RequestRecord(
            record_id=self.record_id.decode(),
            request_id=(self.client_request_id or self.record_id).decode("latin-1"),
            service=self.service,
            arrived_at=self.arrived_at + self.unix_offset_s,
            method=self.method.decode("latin-1"),
            path=self.path.partition(b"?")[0].decode("latin-1"),
            status=self.status,
            end=self._end(),
            total_s=self.ended_at - self.arrived_at,
            queued_s=self.queued_s,
            revision=self.revision,
            replica_id=attempts[-1].replica_id if attempts else None,
            key=self.key_name or None,
            model=self.model[:MAX_MODEL_LENGTH] or None,
            error_code=self.error_code,
            ttft_s=self.ttft_s,
            is_stream=stream is not None,
            num_chunks=0 if stream is None else stream.num_gaps + 1,
            mean_gap_s=mean_gap_s,
            max_gap_s=max_gap_s,
            prompt_tokens=None if usage is None else usage.prompt_tokens,
            completion_tokens=None if usage is None else usage.completion_tokens,
            cached_tokens=None if usage is None else usage.cached_tokens,
            attempts=attempts,
        )

    def _attempts(self) -> tuple[AttemptRecord, ...]:
        failed = tuple(self.failed_attempts or ())
        if self.replica_id is None or self.revision is None:
            return failed
        last = AttemptRecord(
            replica_id=self.replica_id,
            revision=self.revision,
            began_s=self.began_at - self.arrived_at,
            sent_s=None if self.sent_at is None else self.sent_at - self.arrived_at,
            ended_s=self.ended_at - self.arrived_at,
            outcome=self.outcome.name.lower(),
            status=None if self.ttft_s is None else self.status,
        )
        return (*failed, last)

    def _end(self) -> RequestEnd:
        if self.error_code is not None:
            return _ENDS.get(self.error_code, RequestEnd.REJECTED)
        if self.outcome is Outcome.CLIENT_DISCONNECTED:
            return RequestEnd.CLIENT_DISCONNECTED
        return RequestEnd.FINISHED
