"""One request's life: find a replica, ask it, pass its answer on, or explain why there is none.

    state      on                              then
    HELD       a replica can take it           CONNECTING, or ASKED with a connection at hand
    HELD       the queue's time is over        ENDED, with 503
    HELD       all have failed it and are well ENDED, with 502
    CONNECTING connected                       ASKED
    CONNECTING refused                         another replica, or HELD
    ASKED      the answer's first piece        ANSWERING; nothing can be taken back from now on
    ASKED      502, 503 or 504                 another replica, or else ANSWERING
    ASKED      cut, or the replica is dead     another replica, or HELD
    ANSWERING  the answer is whole             ENDED
    ANSWERING  cut, or the replica is dead     ENDED; a stream with an error event
    any        time is over                    ENDED; a stream with an error event, else 504
    any        the client is gone              ENDED; the replica's connection is closed at once

Knows one client's connection and one replica's at a time; everything that is decided, the router
decides.
"""

from __future__ import annotations

import asyncio
import enum
import time
from typing import TYPE_CHECKING

from headrace.gateway.http import http_refusals
from headrace.gateway.http.answer_writer import AnswerWriter
from headrace.gateway.http.locations import Whereabouts, replica_addresses
from headrace.gateway.routing import refusals
from headrace.gateway.routing.choice import Chosen, Hold, Outcome, Refused, ServiceMatch
from headrace.gateway.routing.replica import Replica
from headrace.gateway.routing.request_facts import facts_of
from headrace.gateway.upstream.connection import AnswerHead, UpstreamConnection

if TYPE_CHECKING:
    from headrace.gateway.exchanges import Exchanges
    from headrace.gateway.http.client import Client
    from headrace.gateway.http.http_request import Request

CLIENT_GONE_STATUS = 499
"""What is counted, after nginx, when nobody is left to answer."""

STALE_AFTER_S = 1.0
"""A connection that was idle for so long and then ends without a byte was closed by its replica
before the request reached it, as HTTP allows: the request is sent once more, over a new one."""

_FAILED_STATUSES = (502, 503, 504)


class State(enum.Enum):
    HELD = enum.auto()
    CONNECTING = enum.auto()
    ASKED = enum.auto()
    ANSWERING = enum.auto()
    ENDED = enum.auto()


class Exchange:
    __slots__ = (
        "_all",
        "_answer",
        "_arrived_at",
        "_body",
        "_client",
        "_connecting",
        "_connection",
        "_facts",
        "_heard_at",
        "_is_over_budget",
        "_is_undisturbed",
        "_match",
        "_replica",
        "_request",
        "_request_id",
        "_revision",
        "_sent_at",
        "_tried",
        "_ttft_s",
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
        """Emptied when it cannot be sent again."""
        self._request_id = request_id
        self._arrived_at = now
        self._sent_at = now
        self._heard_at = now
        sticky = None
        if service.sticky_header is not None:
            sticky = request.header(service.sticky_header)
        self._facts = facts_of(service, sticky, body)
        self._tried: dict[str, Replica] = {}
        """The replicas that were sent the request and failed."""
        self._replica: Replica | None = None
        self._revision: int | None = None
        """Of the replica that was asked last."""
        self._connecting: asyncio.Task[None] | None = None
        self._connection: UpstreamConnection | None = None
        self._answer: AnswerWriter | None = None
        self._is_over_budget = False
        """Its retry waits until there is room for it in the service's budget."""
        self._is_undisturbed = True
        """It was neither held nor sent twice, so that its time here is the gateway's alone."""
        self._ttft_s: float | None = None
        self.state = State.HELD
        self.held_revision: int | None = None
        """In whose share it waits, when it waits in line."""

    def start(self) -> None:
        self._choose(self._arrived_at)

    # from those who look after all exchanges

    def choose_again(self, now: float) -> None:
        """Something has changed for those who are held."""
        if self.state is State.HELD and not self._is_over_budget:
            self._choose(now)

    def check_time(self, now: float) -> None:
        """End it if it has taken too long."""
        limits = self.service.limits
        if self.state is State.HELD:
            if now - self._heard_at > limits.queue_timeout_s:
                self._refuse(refusals.queue_timeout(self.service.name, limits.queue_timeout_s))
            elif self._tried and self._all.router.is_hopeless(self.service, self._tried):
                self._refuse(http_refusals.upstream_failed(self.service.name))
            elif self._is_over_budget:
                self._retry(now)
        elif now - self._arrived_at > limits.request_timeout_s:
            self._time_over("request", limits.request_timeout_s, now)
        elif now - self._heard_at > limits.idle_timeout_s:
            self._time_over("next piece of the answer", limits.idle_timeout_s, now)

    def replica_died(self, replica: Replica, now: float) -> None:
        """Probes have found it dead, though its connections stand."""
        if self._replica is not replica:
            return
        self._leave_connection()
        if self.state is State.ANSWERING:
            self._cut(Outcome.TIMEOUT, http_refusals.upstream_cut(), now)
        else:
            self._attempt_failed(Outcome.TIMEOUT, now)

    # from the client's connection

    def client_gone(self) -> None:
        self._leave_connection()
        self._end(Outcome.CLIENT_GONE, CLIENT_GONE_STATUS, time.monotonic())

    def pause(self) -> None:
        """The client reads too slowly: let the replica's bytes wait where they are."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    # from the replica's connection

    @property
    def is_head_request(self) -> bool:
        return self._request.is_head

    def answer_came(self, head: AnswerHead | None, body: list[bytes], is_whole: bool) -> None:
        now = time.monotonic()
        self._heard_at = now
        replica = self._replica
        if replica is not None:
            replica.heard_at = now
        if is_whole:
            self._connection = None  # it is its pool's again
        pieces: list[bytes] = []
        data = body[0] if len(body) == 1 else b"".join(body)
        if head is not None:
            if head.has_locations and replica is not None:
                self._rewrite_locations(head, replica)
            if head.status in _FAILED_STATUSES and self._goes_elsewhere(now):
                return
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
        connection, self._connection = self._connection, None
        if self._answer is not None:
            if is_clean_end and self._answer.ends_with_connection:
                self._finish(self._answer, [], now)
            else:
                self._cut(Outcome.CUT, http_refusals.upstream_cut(), now)
        elif self._replica is not None and connection is not None and self._is_stale(connection):
            self._connect(self._replica)
        else:
            self._attempt_failed(Outcome.CUT, now)

    # towards a replica

    def _choose(self, now: float) -> None:
        choice = self._all.router.choose(self.service, self._facts, self._tried, now)
        if type(choice) is Chosen:
            if self.held_revision is not None:
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
            self._heard_at = now
        self._all.wait_in_line(self, revision)

    def _ask(self, replica: Replica, now: float) -> None:
        self._all.router.begin(replica, self._facts, now)
        self._replica = replica
        self._revision = replica.target.revision
        connection = self._all.pool.take(replica)
        if connection is None:
            self._connect(replica)
        else:
            self._send(connection)

    def _connect(self, replica: Replica) -> None:
        self.state = State.CONNECTING
        self._connecting = self._all.pool.connect(replica, self._connected)

    def _connected(self, connection: UpstreamConnection | None) -> None:
        self._connecting = None
        if connection is None:
            self._attempt_failed(Outcome.CONNECT_FAILED, time.monotonic())
        else:
            self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self.state = State.ASKED
        self._connection = connection
        assert self._replica is not None
        connection.send(
            self,
            self._request.forwarded(
                self._match.path,
                self._replica.address,
                self._body,
                self._client.sender,
                self._request_id,
            ),
        )
        self._sent_at = self._heard_at = time.monotonic()

    def _is_stale(self, connection: UpstreamConnection) -> bool:
        if connection.num_answers == 0 or connection.num_head_bytes:
            return False
        return self._sent_at - connection.idle_since > STALE_AFTER_S

    def _attempt_failed(self, outcome: Outcome, now: float) -> None:
        """Nothing has reached the client yet, so another replica may try."""
        replica, self._replica = self._replica, None
        assert replica is not None
        router = self._all.router
        router.end(replica, outcome, now, None)
        # One that was never reached is not tried again as long as it is ejected; then it may be.
        if outcome is not Outcome.CONNECT_FAILED:
            self._tried[replica.replica_id] = replica
        self._is_undisturbed = False
        self.state = State.HELD
        self._retry(now)

    def _retry(self, now: float) -> None:
        """Now, or when the budget has room: to retry later is better than to fail."""
        self._is_over_budget = not self._all.router.may_retry(self.service, now)
        if not self._is_over_budget:
            self._choose(now)
            return
        assert self._revision is not None
        self._wait(self._revision, now)

    def _goes_elsewhere(self, now: float) -> bool:
        """After an answer 502, 503 or 504. If nobody else can take the request now, and the
        replica is not on its way out, the client gets that answer."""
        replica = self._replica
        assert replica is not None
        router = self._all.router
        self._replica = None
        router.end(replica, Outcome.BAD_STATUS, now, None)
        self._tried[replica.replica_id] = replica
        if (
            replica.is_routed
            and not replica.is_ejected
            and not router.has_other_replica(self.service, self._tried)
        ):
            return False
        if not router.may_retry(self.service, now):
            return False
        self._leave_connection()
        self._is_undisturbed = False
        self.state = State.HELD
        self._choose(now)
        return True

    def _leave_connection(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    # towards the client

    def _begin_answer(
        self, head: AnswerHead, now: float, pieces: list[bytes], num_body_bytes: int | None
    ) -> None:
        """``num_body_bytes`` of an answer that is whole."""
        self.state = State.ANSWERING
        self._body = b""
        self._ttft_s = now - self._arrived_at
        self._answer = AnswerWriter(
            head, self._request, self._all.is_draining, pieces, num_body_bytes
        )
        if self._client.is_paused:  # by an answer before this one
            self.pause()

    def _rewrite_locations(self, head: AnswerHead, replica: Replica) -> None:
        hosts = self._request.client_hosts(self._client.sender)
        whereabouts = Whereabouts(self._match.prefix, replica_addresses(replica), hosts)
        head.rewrite_locations(whereabouts.for_client)

    def _finish(self, answer: AnswerWriter, pieces: list[bytes], now: float) -> None:
        answer.finish(pieces)
        client = self._client
        if pieces:
            client.write(b"".join(pieces))
        status = answer.status
        self._end(Outcome.BAD_STATUS if status in _FAILED_STATUSES else Outcome.OK, status, now)
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
        self._leave_connection()
        refused = http_refusals.upstream_timeout(what, limit_s)
        outcome = Outcome.CLIENT_GONE if self._client.is_paused else Outcome.TIMEOUT
        if self.state is State.ANSWERING:
            self._cut(outcome, refused, now)
        else:
            self._refuse(refused, outcome)

    def _refuse(self, refused: Refused, outcome: Outcome = Outcome.TIMEOUT) -> None:
        """Nothing has reached the client yet; ``outcome`` for a replica that still works on it."""
        client = self._client
        is_last = self._request.is_last or self._all.is_draining
        client.write(http_refusals.answer_bytes(refused, self._request, is_last=is_last))
        self._is_undisturbed = False
        self._end(outcome, refused.status, time.monotonic())
        client.answered(is_last)

    def _end(self, outcome: Outcome, status: int, now: float) -> None:
        if self.held_revision is not None:
            self._all.leave_line(self)
        self.state = State.ENDED
        self._body = b""
        router = self._all.router
        replica, self._replica = self._replica, None
        if replica is not None:
            router.end(replica, outcome, now, self._ttft_s)
        added_s = None
        if self._is_undisturbed and outcome is Outcome.OK:
            added_s = self._sent_at - self._arrived_at + time.monotonic() - now
        router.answered(self.service, self._revision, status, added_s)
        self._all.ended(self)
