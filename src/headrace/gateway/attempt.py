"""One attempt at one replica: gets a connection, sends the request, and lets go of both.

Knows whether the replica may have received the request; what follows from it is its owner's matter.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from headrace.gateway.upstream.connection import AnswerListener, UpstreamConnection

if TYPE_CHECKING:
    from headrace.gateway.routing.replica import Replica
    from headrace.gateway.upstream.pool import Pool

STALE_AFTER_S = 1.0
"""A connection that was idle for so long and then ends without a byte was closed by its replica
before the request reached it, as HTTP allows: the request is sent once more, over a new one."""


class AttemptOwner(AnswerListener, Protocol):
    """The request's life."""

    def message_for(self, replica: Replica) -> bytes:
        """The whole request."""

    def connect_failed(self) -> None:
        """No connection to the replica can be had."""


class Attempt:
    __slots__ = (
        "_connecting",
        "_connection",
        "_owner",
        "_pool",
        "heard_at",
        "is_over",
        "is_resent",
        "replica",
        "sent_at",
        "was_sent",
    )

    def __init__(self, owner: AttemptOwner, pool: Pool, replica: Replica, now: float) -> None:
        self._owner = owner
        self._pool = pool
        self.replica = replica
        self._connecting: asyncio.Task[None] | None = None
        self._connection: UpstreamConnection | None = None
        self.was_sent = False
        """The replica has, or may have, the request."""
        self.is_resent = False
        self.is_over = False
        """The router knows how it ended; the rest of an answer may still come."""
        self.sent_at = now
        self.heard_at = now
        """When something last happened."""

    def start(self) -> None:
        connection = self._pool.take(self.replica)
        if connection is None:
            self._connect()
        else:
            self._send(connection)

    def pause(self) -> None:
        """Let the replica's bytes wait where they are."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    def abort(self) -> None:
        """So that the replica stops working on it."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def release(self) -> None:
        """The answer is whole: the connection is its pool's again."""
        self._connection = None

    def resend_if_stale(self) -> bool:
        """The connection has ended without an answer; once, it may have been a stale one."""
        connection, self._connection = self._connection, None
        if connection is None or self.is_resent:
            return False
        if connection.num_answers == 0 or connection.num_head_bytes:
            return False
        if self.sent_at - connection.idle_since <= STALE_AFTER_S:
            return False
        self.is_resent = True
        self._connect()
        return True

    def _connect(self) -> None:
        self._connecting = self._pool.connect(self.replica, self._connected)

    def _connected(self, connection: UpstreamConnection | None) -> None:
        self._connecting = None
        if connection is None:
            self._owner.connect_failed()
        else:
            self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        connection.send(self._owner, self._owner.message_for(self.replica))
        self.was_sent = True
        self.sent_at = self.heard_at = time.monotonic()
