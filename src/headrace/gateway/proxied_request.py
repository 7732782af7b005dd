"""The life of one request: choose a replica, send, forward the response, or reply with an error.

`request_state` has its states. Decisions are those of the router and of `routing.retries`.
"""

from __future__ import annotations

import time
from typing import Protocol

from headrace.gateway import errors
from headrace.gateway.attempt import Attempt
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.http.http_request import Peer, Request
from headrace.gateway.http.local_reply import local_reply_bytes
from headrace.gateway.http.locations import rewrite_locations
from headrace.gateway.http.response_head import ForwardedHead
from headrace.gateway.http.response_writer import ResponseWriter
from headrace.gateway.in_flight import InFlight
from headrace.gateway.request_state import CLIENT_DISCONNECTED_STATUS, State
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


class Client(Protocol):
    """The connection that the request came from."""

    @property
    def is_paused(self) -> bool:
        """Its write buffer is full."""

    @property
    def peer(self) -> Peer: ...

    def write(self, data: bytes) -> None: ...

    def response_complete(self, is_last: bool) -> None:
        """``is_last``: the connection is to be closed."""

    def cut(self, by_reset: bool) -> None:
        """The response will not be complete: close the connection after what was written;
        ``by_reset``: so that the client does not take that for the end of the response."""


class ProxiedRequest:
    __slots__ = (
        "_arrived_at",
        "_attempt",
        "_body",
        "_client",
        "_features",
        "_in_flight",
        "_is_undisturbed",
        "_match",
        "_queued_since",
        "_request",
        "_request_id",
        "_response",
        "_retries",
        "_retry_is_pending",
        "_revision",
        "_ttft_s",
        "_waited_s",
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
        self._request_id = request_id
        self._arrived_at = now
        header = service.sticky_header
        sticky = None if header is None else request.header(header)
        self._features = features_of(service, sticky, body)
        if service.quarantine.suspects:
            self.compute_digest()
        self._attempt: Attempt | None = None
        """The current one, or the last one when the response has started."""
        self._retries: Retries | None = None
        """None: no attempt has failed."""
        self._revision: int | None = None
        """Of the last replica that was chosen."""
        self._response: ResponseWriter | None = None
        self._retry_is_pending = False
        """Its retry has to wait: for the retry budget, or for probes of the replicas."""
        self._is_undisturbed = True
        """It was neither queued nor retried, so that its latency here is the gateway's alone."""
        self._queued_since = now
        self._waited_s = 0.0
        """In the queue, before the last time that it was queued."""
        self._ttft_s: float | None = None
        self.state = State.QUEUED
        self.queued_for: int | None = None
        """The revision that it is queued for, while it is in the queue."""

    def start(self) -> None:
        self._choose(self._arrived_at)

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
        attempt = self._attempt
        if now - self._arrived_at > limits.request_timeout_s:
            self._time_out("request", limits.request_timeout_s, now)
        elif self.state is State.QUEUED:
            if self._waited_s + now - self._queued_since > limits.queue_timeout_s:
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
        return self._request.forwarded(
            self._match.path, replica.address, self._body, self._client.peer, self._request_id
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
            self._begin_response(attempt, head, now, pieces, len(data) if is_complete else None)
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
                self._waited_s += now - self._queued_since
                self._in_flight.dequeue(self)
            self._send_to(decision, now)
        elif type(decision) is Hold:
            self._wait(decision.revision, now)
        else:
            assert isinstance(decision, ErrorResponse)
            self._reply(decision)

    def _wait(self, revision: int, now: float) -> None:
        self.state = State.QUEUED
        self._is_undisturbed = False
        if self.queued_for is None:
            self._queued_since = now
        self._in_flight.enqueue(self, revision)

    def _send_to(self, replica: ReplicaEndpoint, now: float) -> None:
        self._revision = replica.target.revision
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
        # A replica that could not be reached is ejected, and may be tried again after that.
        request_retries = self._retries = self._retries or Retries()
        if attempt.was_sent:
            request_retries.failed(attempt.replica, is_lost=True)
        self._prepare_retry()
        self._retry(now)

    def _retry(self, now: float) -> None:
        assert self._retries is not None
        assert self._revision is not None
        decision = retries.decide_retry(
            self.service, self._retries, self._features.digest, self._revision, now
        )
        if isinstance(decision, ErrorResponse):
            self._reply(decision)
            return
        self._retry_is_pending = decision is RetryTime.LATER
        if self._retry_is_pending:
            self._wait(self._revision, now)
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
        self._prepare_retry()
        self._choose(now)
        return True

    def _prepare_retry(self) -> None:
        self._attempt = None
        self._is_undisturbed = False
        self.state = State.QUEUED

    # towards the client

    def _begin_response(
        self,
        attempt: Attempt,
        head: ForwardedHead,
        now: float,
        pieces: list[bytes],
        num_body_bytes: int | None,
    ) -> None:
        """``num_body_bytes``: of the body, if it is complete already."""
        self.state = State.RESPONDING
        if b"location" in head.inspected or b"content-location" in head.inspected:
            hosts = self._request.client_hosts(self._client.peer)
            rewrite_locations(head, self._match.prefix, attempt.replica, hosts)
        # The response may take long and may still be lost, which needs the digest.
        if num_body_bytes is None and len(self._body) > MAX_STORED_BODY_BYTES:
            self.compute_digest()
            self._body = b""
        self._ttft_s = now - self._arrived_at
        self._response = ResponseWriter(
            head, self._request, self._in_flight.is_draining, pieces, num_body_bytes
        )
        if self._client.is_paused:  # by the response before this one
            self.pause()

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
        self._end(outcome, self._response.status, now)
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
        self._is_undisturbed = False
        self._end(outcome, error.status, time.monotonic())
        client.response_complete(is_last)

    def _end(self, outcome: Outcome, status: int, now: float) -> None:
        if self.queued_for is not None:
            self._in_flight.dequeue(self)
        self.state = State.DONE
        attempt, response = self._attempt, self._response
        added_s = None
        if attempt is not None:
            is_lost = attempt.was_sent and outcome is not Outcome.CLIENT_DISCONNECTED
            if outcome is Outcome.OK and response is not None:
                is_lost = response.is_server_error
            attempt.end(outcome, now, self._ttft_s, is_lost=is_lost)
            if self._is_undisturbed and outcome is Outcome.OK:
                added_s = attempt.sent_at - self._arrived_at + time.monotonic() - now
        self._body = b""
        self._in_flight.router.count_response(self.service, self._revision, status, added_s)
        self._in_flight.discard(self)
