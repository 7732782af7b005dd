"""One attempt at one replica: its connection, and what the replica may have received.

What follows from how it ends is the exchange's matter.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.gateway.routing.replica import Replica
    from headrace.gateway.upstream.connection import UpstreamConnection
    from headrace.gateway.upstream.pool import Connected, Pool

STALE_AFTER_S = 1.0
"""A connection that was idle for so long and then ends without a byte was closed by its replica
before the request reached it, as HTTP allows: the request is sent once more, over a new one."""


class Attempt:
    """The exchange writes what is public."""

    __slots__ = (
        "_connecting",
        "connection",
        "heard_at",
        "is_over",
        "is_resent",
        "replica",
        "sent_at",
        "was_sent",
    )

    def __init__(self, replica: Replica, now: float) -> None:
        self.replica = replica
        self._connecting: asyncio.Task[None] | None = None
        self.connection: UpstreamConnection | None = None
        """On which the answer comes."""
        self.was_sent = False
        """The replica has, or may have, the request."""
        self.is_resent = False
        self.is_over = False
        """The router knows how it ended; the rest of an answer may still come."""
        self.sent_at = now
        self.heard_at = now
        """When something last happened."""

    def connect(self, pool: Pool, connected: Connected) -> None:
        self._connecting = pool.connect(self.replica, connected)

    def abort(self) -> None:
        """So that the replica stops working on it."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self.connection is not None:
            self.connection.abort()
            self.connection = None

    def may_be_resent(self, connection: UpstreamConnection) -> bool:
        """Its connection has ended without an answer: whether it was a stale one. Once."""
        if self.is_resent or connection.num_answers == 0 or connection.num_head_bytes:
            return False
        self.is_resent = self.sent_at - connection.idle_since > STALE_AFTER_S
        return self.is_resent
