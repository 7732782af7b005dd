"""The life of one request: choose a replica, send, forward the response, or reply with an error.

`request_state` has its states. Decisions are those of the router and of `routing.retries`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace.gateway import errors
from headrace.gateway.attempt import Attempt
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.http.http_request import Request
from headrace.gateway.http.local_reply import local_reply_bytes
from headrace.gateway.http.locations import rewrite_locations
from headrace.gateway.http.response_head import ForwardedHead
from headrace.gateway.http.response_writer import ResponseWriter
from headrace.gateway.http.usage import is_preamble
from headrace.gateway.in_flight import InFlight
from headrace.gateway.reporting.request_trace import StreamMeter
from headrace.gateway.request_state import CLIENT_DISCONNECTED_STATUS, Client, State
from headrace.gateway.routing import retries
from headrace.gateway.routing.decisions import (
    FAILED_STATUSES,
    Hold,
    Outcome,
    RetryTime,
    ServiceMatch,
)
from headrace.gateway.routing.quarantine import digest_of
from headrace.gateway.routing.request_features import features_of
from headrace.gateway.routing.retries import Retries
from headrace.gateway.routing.topology import ReplicaEndpoint

MAX_STORED_BODY_BYTES = 16 * 1024
"""While a response is sent. Of longer bodies only the digest is stored."""


class ProxiedRequest:
    __slots__ = (
        "_attempt",
        "_body",
        "_client",
        "_features",
        "_in_flight",
        "_match",
        "_note_gap",
        "_request",
        "_response",
        "_retries",
        "_retry_is_pending",
        "_trace",
        "queued_for",
        "service",
        "state",
    )

    def __init__(
        self,
        in_flight: InFlight,
        client: Client,
        match: ServiceMatch,
        request: Request,
        body: bytes,
        request_id: bytes,
        now: float,
    ) -> None:
        """``request_id``: used if the client sent none."""
        service = match.service
        self._in_flight = in_flight
        self._client = client
        self.service = service
        self._match = match
        self._request = request
        self._body = body
        """Emptied when it is no longer needed."""
        self._trace = in_flight.log.begin(match, request, request_id, now)
        header = service.sticky_header
        sticky = None if header is None else request.header(header)
        self._features = features_of(service, sticky, body)
        if service.quarantine.suspects:
            self.compute_digest()
        self._attempt: Attempt | None = None
        """The current one, or the last one when the response has started."""
        self._retries: Retries | None = None
        """None: no attempt has failed."""
        self._response: ResponseWriter | None = None
        self._retry_is_pending = False
        """Its retry has to wait: for the retry budget, or for probes of the replicas."""
        self._note_gap: Callable[[float], None] | None = None
        """Of an event stream, from its first token on."""
        self.state = State.QUEUED
        self.queued_for: int | None = None
        """The revision that it is queued for, while it is in the queue."""

    def start(self) -> None:
        self._choose(self._trace.arrived_at)

    def retry_selection(self, now: float) -> None:
        """Something has changed for the queued requests of its service."""
        if self.state is not State.QUEUED:
            return
        if self._retry_is_pending:
            self._retry(now)
        else:
            self._choose(now)

    def check_timeouts(self, now: float) -> None:
        limits = self.service.limits
        attempt, trace = self._attempt, self._trace
        if trace.stream is not None:
            self._in_flight.log.count_gaps(self.service, trace, trace.stream)
        if now - trace.arrived_at > limits.request_timeout_s:
            self._time_out("request", limits.request_timeout_s, now)
        elif self.state is State.QUEUED:
            if trace.total_queued_s(now) > limits.queue_timeout_s:
                self._reply(errors.queue_timeout(self.service.name, limits.queue_timeout_s))
            elif retries.all_replicas_failed(self.service, self._retries):
                self._reply(errors.upstream_failed(self.service.name))
            elif self._retry_is_pending or self._features.isolated is not None:
                self.retry_selection(now)
        elif attempt is not None and now - attempt.last_activity_at > limits.idle_timeout_s:
            self._time_out("wait for the next part of the response", limits.idle_timeout_s, now)

    def replica_died(self, replica: ReplicaEndpoint, now: float) -> None:
        """Probes have failed, although the replica's connections are open."""
        if self._attempt is None or self._attempt.replica is not replica:
            return
        self._attempt.abort()
        if self.state is State.RESPONDING:
            self._cut(Outcome.TIMEOUT, errors.upstream_cut(), now)
        else:
            self._attempt_failed(Outcome.TIMEOUT, now)

    # for the client's connection

    def client_disconnected(self) -> None:
        if self._attempt is not None:
            self._attempt.abort()
        self._end(Outcome.CLIENT_DISCONNECTED, CLIENT_DISCONNECTED_STATUS, time.monotonic())

    def pause(self) -> None:
        """The client reads too slowly: stop reading from the replica."""
        if self._attempt is not None and self._attempt.connection is not None:
            self._attempt.connection.pause()

    def resume(self) -> None:
        if self._attempt is not None and self._attempt.connection is not None:
            self._attempt.connection.resume()

    # for the attempt and the replica's connection

    def message(self, replica: ReplicaEndpoint) -> bytes:
        """The request as this replica gets it."""
        trace, span = self._trace, self._trace.span
        return self._request.forwarded(
            self._match.path,
            replica.address,
            self._body,
            self._client.peer,
            trace.record_id,
            b"" if span is None else span.trace_headers,
        )

    def connect_failed(self, now: float) -> None:
        self._attempt_failed(Outcome.CONNECT_FAILED, now)

    def compute_digest(self) -> None:
        """While the body is there."""
        if self._features.digest is None:
            path = self._match.path
            self._features.digest = digest_of(self._request.method, path, self._body)

    @property
    def is_head_request(self) -> bool:
        return self._request.is_head

    def on_response(self, head: ForwardedHead | None, body: list[bytes], is_complete: bool) -> None:
        attempt = self._attempt
        assert attempt is not None
        assert attempt.connection is not None
        now = attempt.connection.received_at
        last_activity_at = attempt.last_activity_at
        attempt.last_activity_at = attempt.replica.last_received_at = now
        if is_complete:
            attempt.connection = None  # the pool has it again
        pieces: list[bytes] = []
        data = body[0] if len(body) == 1 else b"".join(body)
        if head is not None:
            if head.status in FAILED_STATUSES:
                if self._retry_bad_status(attempt, head.status, now):
                    return
            elif not (data or is_complete) and head.is_held(self._request.method):
                attempt.held_head = head
                return
        elif attempt.held_head is not None:
            head, attempt.held_head = attempt.held_head, None
        if head is not None:
            self._begin_response(
                attempt, head, now, pieces, data, len(data) if is_complete else None
            )
        elif data and self._note_gap is not None:
            self._note_gap(now - last_activity_at)
        elif data and self._trace.stream is not None and not is_preamble(data):
            self._first_token_came(self._trace.stream, now)
        response = self._response
        assert response is not None
        if data:
            response.add(data, pieces)
        if is_complete:
            self._finish(response, pieces, now)
        elif pieces:
            self._client.write(b"".join(pieces))

    def on_response_cut(self, error: Exception | None) -> None:
        now = time.monotonic()
        attempt = self._attempt
        assert attempt is not None
        connection, attempt.connection = attempt.connection, None
        if self._response is not None:
            if error is None and self._response.ends_with_connection:
                self._finish(self._response, [], now)
            else:
                self._cut(Outcome.CUT, errors.upstream_cut(), now)
        elif connection is None or not attempt.resend_if_stale(connection):
            self._attempt_failed(Outcome.CUT, now)

    # towards a replica

    def _choose(self, now: float) -> None:
        tried = () if self._retries is None else self._retries.tried
        decision = self._in_flight.router.choose(self.service, self._features, tried, now)
        if type(decision) is ReplicaEndpoint:
            if self.queued_for is not None:
                self._trace.end_wait(now)
                self._in_flight.dequeue(self)
            self._send_to(decision, now)
        elif type(decision) is Hold:
            self._wait(decision.revision, now)
        else:
            assert isinstance(decision, ErrorResponse)
            self._reply(decision)

    def _wait(self, revision: int, now: float) -> None:
        self.state = State.QUEUED
        self._trace.begin_wait(now)
        self._in_flight.enqueue(self, revision)

    def _send_to(self, replica: ReplicaEndpoint, now: float) -> None:
        self._trace.revision = replica.target.revision
        self.state = State.SENT
        in_flight = self._in_flight
        attempt = self._attempt = Attempt(
            self, replica, self._features, in_flight.router, in_flight.pool, now
        )
        attempt.start()

    def _attempt_failed(self, outcome: Outcome, now: float) -> None:
        """The response has not started, so another replica may be tried."""
        attempt = self._attempt
        assert attempt is not None
        attempt.end(outcome, now, None, is_lost=attempt.was_sent)
        self._trace.attempt_failed(attempt, outcome, now)
        # A replica that could not be reached is ejected, and may be tried again after that.
        request_retries = self._retries = self._retries or Retries()
        if attempt.was_sent:
            request_retries.failed(attempt.replica, is_lost=True)
        self._prepare_retry()
        self._retry(now)

    def _retry(self, now: float) -> None:
        assert self._retries is not None
        revision = self._trace.revision
        assert revision is not None
        decision = retries.decide_retry(
            self.service, self._retries, self._features.digest, revision, now
        )
        if isinstance(decision, ErrorResponse):
            self._reply(decision)
            return
        self._retry_is_pending = decision is RetryTime.LATER
        if self._retry_is_pending:
            self._wait(revision, now)
        else:
            self._choose(now)

    def _retry_bad_status(self, attempt: Attempt, status: int, now: float) -> bool:
        """Whether the request is sent to another replica, and this response is dropped."""
        request_retries = self._retries = self._retries or Retries()
        attempt.end(Outcome.BAD_STATUS, now, None, is_lost=True)
        if not retries.retries_bad_status(
            self.service, request_retries, attempt.replica, status, now
        ):
            return False
        attempt.abort()
        self._trace.attempt_failed(attempt, Outcome.BAD_STATUS, now, status)
        self._prepare_retry()
        self._choose(now)
        return True

    def _prepare_retry(self) -> None:
        self._attempt = None
        self.state = State.QUEUED

    # towards the client

    def _begin_response(
        self,
        attempt: Attempt,
        head: ForwardedHead,
        now: float,
        pieces: list[bytes],
        data: bytes,
        num_body_bytes: int | None,
    ) -> None:
        """``data``: the first of the body; ``num_body_bytes``: of the body, if it is complete
        already."""
        self.state = State.RESPONDING
        if b"location" in head.inspected or b"content-location" in head.inspected:
            hosts = self._request.client_hosts(self._client.peer)
            rewrite_locations(head, self._match.prefix, attempt.replica, hosts)
        # The response may take long and may still be lost, which needs the digest.
        if num_body_bytes is None and len(self._body) > MAX_STORED_BODY_BYTES:
            self.compute_digest()
            self._body = b""
        trace = self._trace
        trace.ttft_s = now - trace.arrived_at
        response = self._response = ResponseWriter(
            head, self._request, self._in_flight.is_draining, pieces, num_body_bytes
        )
        if response.guard is not None:
            stream = trace.stream_began(data, head.status)
            self._note_gap = None if is_preamble(data) else stream.note_gap
        if self._client.is_paused:  # by the response before this one
            self.pause()

    def _first_token_came(self, stream: StreamMeter, now: float) -> None:
        """After events without one."""
        self._trace.ttft_s = now - self._trace.arrived_at
        self._note_gap = stream.note_gap

    def _finish(self, response: ResponseWriter, pieces: list[bytes], now: float) -> None:
        response.finish(pieces)
        client = self._client
        if pieces:
            client.write(b"".join(pieces))
        status = response.status
        self._end(Outcome.BAD_STATUS if status in FAILED_STATUSES else Outcome.OK, status, now)
        client.response_complete(response.is_last)

    def _cut(self, outcome: Outcome, error: ErrorResponse, now: float) -> None:
        assert self._response is not None
        pieces: list[bytes] = []
        self._response.cut(error, pieces)
        client = self._client
        if pieces:
            client.write(b"".join(pieces))
        self._end(outcome, self._response.status, now, error)
        client.cut(by_reset=self._response.looks_complete_when_closed)

    def _time_out(self, what: str, limit_s: float, now: float) -> None:
        if self._attempt is not None:
            self._attempt.abort()
        error = errors.upstream_timeout(what, limit_s)
        outcome = Outcome.CLIENT_DISCONNECTED if self._client.is_paused else Outcome.TIMEOUT
        if self.state is State.RESPONDING:
            self._cut(outcome, error, now)
        else:
            self._reply(error, outcome)

    def _reply(self, error: ErrorResponse, outcome: Outcome = Outcome.TIMEOUT) -> None:
        """The response has not started; ``outcome``: of an attempt that has not ended."""
        client = self._client
        is_last = self._request.is_last or self._in_flight.is_draining
        client.write(local_reply_bytes(error, self._request, is_last=is_last))
        self._end(outcome, error.status, time.monotonic(), error)
        client.response_complete(is_last)

    def _end(
        self, outcome: Outcome, status: int, now: float, error: ErrorResponse | None = None
    ) -> None:
        """``error``: the gateway's own."""
        if self.queued_for is not None:
            self._in_flight.dequeue(self)
        self.state = State.DONE
        attempt, response, trace = self._attempt, self._response, self._trace
        is_server_error = response is not None and response.is_server_error
        added_s = None
        if attempt is not None:
            is_lost = attempt.was_sent and outcome is not Outcome.CLIENT_DISCONNECTED
            if outcome is Outcome.OK and response is not None:
                is_lost = is_server_error
            attempt.end(outcome, now, trace.ttft_s, is_lost=is_lost)
            if trace.is_undisturbed and outcome is Outcome.OK:
                added_s = attempt.sent_at - trace.arrived_at + time.monotonic() - now
        self._body = b""
        trace.end(outcome, status, now, attempt, response, error)
        self._in_flight.log.ended(self.service, trace, added_s, is_server_error)
        self._in_flight.discard(self)
