"""One attempt at one replica: opens the connection, sends the request, and reports the outcome."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from headrace.gateway.http.response_head import ForwardedHead
from headrace.gateway.routing.decisions import Outcome
from headrace.gateway.routing.request_features import RequestFeatures
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ReplicaEndpoint
from headrace.gateway.upstream.pool import Pool, UpstreamConnection
from headrace.http1.connection import ResponseListener


class Sender(ResponseListener[ForwardedHead], Protocol):
    """The request that the attempt is for."""

    def message(self, replica: ReplicaEndpoint) -> bytes:
        """The request as this replica gets it."""

    def connect_failed(self, now: float) -> None: ...

    def compute_digest(self) -> None:
        """Set the digest in its features."""


class Attempt:
    """Its sender writes ``last_activity_at``, and ``connection`` when the response is complete."""

    __slots__ = (
        "_connecting",
        "_features",
        "_is_over",
        "_is_resent",
        "_pool",
        "_router",
        "_sender",
        "began_at",
        "connection",
        "held_head",
        "last_activity_at",
        "replica",
        "sent_at",
        "was_sent",
    )

    def __init__(
        self,
        sender: Sender,
        replica: ReplicaEndpoint,
        features: RequestFeatures,
        router: Router,
        pool: Pool,
        now: float,
    ) -> None:
        self._sender = sender
        self._features = features
        self._router = router
        self._pool = pool
        self._connecting: asyncio.Task[None] | None = None
        self._is_resent = False
        self._is_over = False
        self.replica = replica
        self.connection: UpstreamConnection | None = None
        """The response is received on it."""
        self.held_head: ForwardedHead | None = None
        """Of the response, until its body begins."""
        self.was_sent = False
        """The replica has, or may have, received the request."""
        self.began_at = self.sent_at = self.last_activity_at = now

    def start(self) -> None:
        """Send the request, over an idle connection if there is one."""
        self._router.begin(self.replica, self._features, self.sent_at)
        connection = self._pool.take(self.replica)
        if connection is None:
            self._connecting = self._pool.connect(self.replica, self._connected)
        else:
            self._send(connection)

    def resend_if_stale(self, connection: UpstreamConnection) -> bool:
        """Its connection was closed without a response: whether that was a stale one, and the
        request is sent again. True once."""
        if self._is_resent or not connection.was_stale():
            return False
        self._is_resent = True
        self._connecting = self._pool.connect(self.replica, self._connected)
        return True

    def abort(self) -> None:
        """Close the connection, so that the replica stops processing the request."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self.connection is not None:
            self.connection.abort()
            self.connection = None

    def end(self, outcome: Outcome, now: float, ttft_s: float | None, *, is_lost: bool) -> None:
        """Notify the router, once; the rest of a response may still come. ``is_lost``: the request
        was sent and had no good response."""
        if self._is_over:
            return
        self._is_over = True
        replica, router, features = self.replica, self._router, self._features
        if is_lost:
            self._sender.compute_digest()
            is_cut = outcome is Outcome.CUT or outcome is Outcome.CONNECT_FAILED
            router.record_loss(replica, features, self.sent_at, now, is_cut=is_cut)
        elif outcome is Outcome.OK and features.digest is not None:
            router.record_success(replica, features)
        router.end(replica, outcome, now, ttft_s)
        if features.isolated is not None:
            router.end_isolation(replica, features)

    def _connected(self, connection: UpstreamConnection | None) -> None:
        if connection is None:
            self._sender.connect_failed(time.monotonic())
        else:
            self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        connection.send(self._sender, self._sender.message(self.replica))
        self.was_sent = True
        self.sent_at = self.last_activity_at = connection.sent_at
