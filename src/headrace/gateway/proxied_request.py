"""One request's life: find a replica, ask it, pass its answer on, or explain why there is none.

Knows one client's connection and one attempt at a replica at a time; everything that is decided,
the router decides.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from headrace.gateway.attempt import Attempt
from headrace.gateway.http import local_reply
from headrace.gateway.http.locations import rewrite_locations
from headrace.gateway.http.response_writer import AnswerWriter
from headrace.gateway.request_state import (
    CLIENT_GONE_STATUS,
    ERROR_STATUS,
    FAILED_STATUSES,
    NOT_BEGUN_STATUS,
    State,
)
from headrace.gateway.routing import refusals
from headrace.gateway.routing.decisions import Chosen, Hold, Outcome, Refused, ServiceMatch
from headrace.gateway.routing.quarantine import digest_of
from headrace.gateway.routing.replica import Replica
from headrace.gateway.routing.request_features import facts_of
from headrace.gateway.routing.retries import Retries
from headrace.gateway.upstream.connection import AnswerHead, UpstreamConnection

if TYPE_CHECKING:
    from headrace.gateway.http.client import Client
    from headrace.gateway.http.http_request import Request
    from headrace.gateway.in_flight import Exchanges

MAX_KEPT_BODY_BYTES = 16 * 1024
"""While an answer is under way. Of longer bodies the digest is kept."""
_NONE: Mapping[str, Replica] = MappingProxyType({})


class Exchange:
    __slots__ = (
        "_all",
        "_answer",
        "_arrived_at",
        "_attempt",
        "_body",
        "_client",
        "_facts",
        "_held_since",
        "_is_halted",
        "_is_undisturbed",
        "_match",
        "_request",
        "_request_id",
        "_retries",
        "_revision",
        "_ttft_s",
        "_waited_s",
        "held_revision",
        "service",
        "state",
    )

    def __init__(
        self,
        all_exchanges: Exchanges,
        client: Client,
        match: ServiceMatch,
        request: Request,
        body: bytes,
        request_id: bytes,
        now: float,
    ) -> None:
        """``request_id``: what it is called if its client gave it no name."""
        service = match.service
        self._all = all_exchanges
        self._client = client
        self.service = service
        self._match = match
        self._request = request
        self._body = body
        """Emptied when it is not needed any more."""
        self._request_id = request_id
        self._arrived_at = now
        sticky = None
        if service.sticky_header is not None:
            sticky = request.header(service.sticky_header)
        self._facts = facts_of(service, sticky, body)
        if service.quarantine.suspects:
            self._digest()
        self._attempt: Attempt | None = None
        """The one under way, or the last one when the answer has begun."""
        self._retries: Retries | None = None
        """None: no attempt has failed."""
        self._revision: int | None = None
        """Of the replica that was asked last."""
        self._answer: AnswerWriter | None = None
        self._is_halted = False
        """Its retry waits for room in the service's budget, or to know whether replicas live."""
        self._is_undisturbed = True
        """It was neither held nor sent twice, so that its time here is the gateway's alone."""
        self._held_since = now
        self._waited_s = 0.0
        """In line, before it was last in line."""
        self._ttft_s: float | None = None
        self.state = State.HELD
        self.held_revision: int | None = None
        """In whose share it waits, when it waits in line."""

    def start(self) -> None:
        self._choose(self._arrived_at)

    # from those who look after all exchanges

    def choose_again(self, now: float) -> None:
        """Something has changed for those who are held."""
        if self.state is State.HELD:
            self._go_on(now)

    def check_time(self, now: float) -> None:
        """End it if it has taken too long."""
        limits = self.service.limits
        attempt = self._attempt
        if now - self._arrived_at > limits.request_timeout_s:
            self._time_over("request", limits.request_timeout_s, now)
        elif self.state is State.HELD:
            tried = _NONE if self._retries is None else self._retries.tried
            if self._waited_s + now - self._held_since > limits.queue_timeout_s:
                self._refuse(refusals.queue_timeout(self.service.name, limits.queue_timeout_s))
            elif tried and self._all.router.is_hopeless(self.service, tried):
                self._refuse(local_reply.upstream_failed(self.service.name))
            elif self._is_halted or self._facts.isolated is not None:
                self._go_on(now)
        elif attempt is not None and now - attempt.heard_at > limits.idle_timeout_s:
            self._time_over("next piece of the answer", limits.idle_timeout_s, now)

    def replica_died(self, replica: Replica, now: float) -> None:
        """Probes have found it dead, though its connections stand."""
        if self._attempt is None or self._attempt.replica is not replica:
            return
        self._attempt.abort()
        if self.state is State.ANSWERING:
            self._cut(Outcome.TIMEOUT, local_reply.upstream_cut(), now)
        else:
            self._attempt_failed(Outcome.TIMEOUT, now)

    # from the client's connection

    def client_gone(self) -> None:
        if self._attempt is not None:
            self._attempt.abort()
        self._end(Outcome.CLIENT_GONE, CLIENT_GONE_STATUS, time.monotonic())

    def pause(self) -> None:
        """The client reads too slowly: let the replica's bytes wait where they are."""
        if self._attempt is not None and self._attempt.connection is not None:
            self._attempt.connection.pause()

    def resume(self) -> None:
        if self._attempt is not None and self._attempt.connection is not None:
            self._attempt.connection.resume()

    # from the replica's connection

    @property
    def is_head_request(self) -> bool:
        return self._request.is_head

    def answer_came(self, head: AnswerHead | None, body: list[bytes], is_whole: bool) -> None:
        now = time.monotonic()
        attempt = self._attempt
        assert attempt is not None
        attempt.heard_at = attempt.replica.heard_at = now
        if is_whole:
            attempt.connection = None  # it is its pool's again
        pieces: list[bytes] = []
        data = body[0] if len(body) == 1 else b"".join(body)
        if head is not None:
            if head.status in FAILED_STATUSES and self._goes_elsewhere(attempt, head.status, now):
                return
            if b"location" in head.noted or b"content-location" in head.noted:
                sender = self._client.sender
                rewrite_locations(head, self._request, sender, self._match, attempt.replica)
            self._begin_answer(head, now, pieces, len(data) if is_whole else None)
        answer = self._answer
        assert answer is not None
        if data:
            answer.add(data, pieces)
        if is_whole:
            self._finish(answer, pieces, now)
        elif pieces:
            self._client.write(b"".join(pieces))

    def answer_cut(self, is_clean_end: bool) -> None:
        now = time.monotonic()
        attempt = self._attempt
        assert attempt is not None
        connection, attempt.connection = attempt.connection, None
        if self._answer is not None:
            if is_clean_end and self._answer.ends_with_connection:
                self._finish(self._answer, [], now)
            else:
                self._cut(Outcome.CUT, local_reply.upstream_cut(), now)
        elif connection is not None and attempt.may_be_resent(connection):
            attempt.connect(self._all.pool, self._connected)
        else:
            self._attempt_failed(Outcome.CUT, now)

    # towards a replica

    def _go_on(self, now: float) -> None:
        if self._is_halted:
            self._retry(now)
        else:
            self._choose(now)

    def _choose(self, now: float) -> None:
        tried = _NONE if self._retries is None else self._retries.tried
        choice = self._all.router.choose(self.service, self._facts, tried, now)
        if type(choice) is Chosen:
            if self.held_revision is not None:
                self._waited_s += now - self._held_since
                self._all.leave_line(self)
            self._ask(choice.replica, now)
        elif type(choice) is Hold:
            self._wait(choice.revision, now)
        else:
            assert isinstance(choice, Refused)
            self._refuse(choice)

    def _wait(self, revision: int, now: float) -> None:
        self.state = State.HELD
        self._is_undisturbed = False
        if self.held_revision is None:
            self._held_since = now
        self._all.wait_in_line(self, revision)

    def _ask(self, replica: Replica, now: float) -> None:
        self._all.router.begin(replica, self._facts, now)
        self._revision = replica.target.revision
        self.state = State.ASKED
        attempt = self._attempt = Attempt(replica, now)
        pool = self._all.pool
        connection = pool.take(replica)
        if connection is None:
            attempt.connect(pool, self._connected)
        else:
            self._send(attempt, connection)

    def _connected(self, connection: UpstreamConnection | None) -> None:
        attempt = self._attempt
        assert attempt is not None
        if connection is None:
            self._attempt_failed(Outcome.CONNECT_FAILED, time.monotonic())
        else:
            self._send(attempt, connection)

    def _send(self, attempt: Attempt, connection: UpstreamConnection) -> None:
        attempt.connection = connection
        message = self._request.forwarded(
            self._match.path,
            attempt.replica.address,
            self._body,
            self._client.sender,
            self._request_id,
        )
        connection.send(self, message)
        attempt.was_sent = True
        attempt.sent_at = attempt.heard_at = time.monotonic()

    def _attempt_failed(self, outcome: Outcome, now: float) -> None:
        """Nothing has reached the client yet, so another replica may try."""
        attempt = self._attempt
        assert attempt is not None
        self._end_attempt(outcome, now, is_lost=attempt.was_sent)
        # One that was never reached is not tried again as long as it is ejected; then it may be.
        retries = self._retries = self._retries or Retries()
        if attempt.was_sent:
            retries.failed(attempt.replica, is_lost=True)
        self._attempt = None
        self._is_undisturbed = False
        self.state = State.HELD
        self._retry(now)

    def _retry(self, now: float) -> None:
        """Now, or when it is allowed: to retry later is better than to fail."""
        retries, router = self._retries, self._all.router
        assert retries is not None
        assert self._revision is not None
        if retries.awaits_verdict:
            self._is_halted = True
        elif retries.is_exhausted:
            refused = router.quarantine_refusal(self.service, self._facts, self._revision, now)
            self._refuse(refused or local_reply.upstream_failed(self.service.name))
            return
        else:
            self._is_halted = not router.may_retry(self.service, now)
        if self._is_halted:
            self._wait(self._revision, now)
        else:
            self._choose(now)

    def _goes_elsewhere(self, attempt: Attempt, status: int, now: float) -> bool:
        """After an answer 502, 503 or 504. If nobody else can take the request now, and the
        replica is not on its way out, the client gets that answer."""
        replica, router = attempt.replica, self._all.router
        retries = self._retries = self._retries or Retries()
        self._end_attempt(Outcome.BAD_STATUS, now, is_lost=True)
        retries.failed(replica, is_lost=status != NOT_BEGUN_STATUS)
        is_leaving = not replica.is_routed or replica.is_ejected
        can_go = is_leaving or router.has_other_replica(self.service, retries.tried)
        if retries.is_exhausted or not can_go:
            return False
        if not router.may_retry(self.service, now):
            return False
        attempt.abort()
        self._attempt = None
        self._is_undisturbed = False
        self.state = State.HELD
        self._choose(now)
        return True

    def _end_attempt(self, outcome: Outcome, now: float, *, is_lost: bool) -> None:
        """Tell the router, once; ``is_lost``: it came to no good answer, though it was sent."""
        attempt = self._attempt
        if attempt is None or attempt.is_over:
            return
        attempt.is_over = True
        replica, router, facts = attempt.replica, self._all.router, self._facts
        if is_lost:
            self._digest()
            is_cut = outcome is Outcome.CUT or outcome is Outcome.CONNECT_FAILED
            router.lost(replica, facts, attempt.sent_at, now, is_cut=is_cut)
        elif outcome is Outcome.OK and facts.digest is not None:
            router.answered_well(replica, facts)
        router.end(replica, outcome, now, self._ttft_s)
        if facts.isolated is not None:
            router.end_isolation(replica, facts)

    def _digest(self) -> None:
        """Let the request be known by it, while its body is there."""
        if self._facts.digest is None:
            self._facts.digest = digest_of(self._request.method, self._match.path, self._body)

    # towards the client

    def _begin_answer(
        self, head: AnswerHead, now: float, pieces: list[bytes], num_body_bytes: int | None
    ) -> None:
        """``num_body_bytes`` of an answer that is whole."""
        self.state = State.ANSWERING
        # It may take long, and may yet be lost: then its digest is needed.
        if num_body_bytes is None and len(self._body) > MAX_KEPT_BODY_BYTES:
            self._digest()
            self._body = b""
        self._ttft_s = now - self._arrived_at
        self._answer = AnswerWriter(
            head, self._request, self._all.is_draining, pieces, num_body_bytes
        )
        if self._client.is_paused:  # by an answer before this one
            self.pause()

    def _finish(self, answer: AnswerWriter, pieces: list[bytes], now: float) -> None:
        answer.finish(pieces)
        client = self._client
        if pieces:
            client.write(b"".join(pieces))
        status = answer.status
        self._end(Outcome.BAD_STATUS if status in FAILED_STATUSES else Outcome.OK, status, now)
        client.answered(answer.is_last)

    def _cut(self, outcome: Outcome, refused: Refused, now: float) -> None:
        assert self._answer is not None
        pieces: list[bytes] = []
        self._answer.cut(refused, pieces)
        client = self._client
        if pieces:
            client.write(b"".join(pieces))
        self._end(outcome, self._answer.status, now)
        client.cut(by_reset=self._answer.looks_whole_when_closed)

    def _time_over(self, what: str, limit_s: float, now: float) -> None:
        if self._attempt is not None:
            self._attempt.abort()
        refused = local_reply.upstream_timeout(what, limit_s)
        outcome = Outcome.CLIENT_GONE if self._client.is_paused else Outcome.TIMEOUT
        if self.state is State.ANSWERING:
            self._cut(outcome, refused, now)
        else:
            self._refuse(refused, outcome)

    def _refuse(self, refused: Refused, outcome: Outcome = Outcome.TIMEOUT) -> None:
        """Nothing has reached the client yet; ``outcome`` for a replica that still works on it."""
        client = self._client
        is_last = self._request.is_last or self._all.is_draining
        client.write(local_reply.answer_bytes(refused, self._request, is_last=is_last))
        self._is_undisturbed = False
        self._end(outcome, refused.status, time.monotonic())
        client.answered(is_last)

    def _end(self, outcome: Outcome, status: int, now: float) -> None:
        if self.held_revision is not None:
            self._all.leave_line(self)
        self.state = State.ENDED
        attempt, answer = self._attempt, self._answer
        added_s = None
        if attempt is not None:
            is_lost = attempt.was_sent and outcome is not Outcome.CLIENT_GONE
            if outcome is Outcome.OK and answer is not None:
                guard = answer.guard
                is_lost = status >= ERROR_STATUS or (guard is not None and guard.ended_in_error)
            self._end_attempt(outcome, now, is_lost=is_lost)
            if self._is_undisturbed and outcome is Outcome.OK:
                added_s = attempt.sent_at - self._arrived_at + time.monotonic() - now
        self._body = b""
        self._all.router.answered(self.service, self._revision, status, added_s)
        self._all.ended(self)
