"""Connections to replicas: opened when needed, and kept for a few seconds for the next request."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from functools import partial

from headrace.gateway.http.response_head import ForwardedHead
from headrace.gateway.routing.topology import ReplicaEndpoint
from headrace.http1.connection import HttpConnection
from headrace.http1.idle_connections import IdleConnections

CONNECT_TIMEOUT_S = 3.0
MAX_IDLE_S = 4.0
"""Less than the shortest keep-alive timeout of model servers (uvicorn's 5 s), so that a connection
is not used at the moment when its replica closes it."""

UpstreamConnection = HttpConnection[ForwardedHead]
OnConnected = Callable[[UpstreamConnection | None], None]
"""Gets the new connection; None if it could not be opened."""


class Pool:
    """All connections of one gateway; for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._idle: dict[ReplicaEndpoint, IdleConnections[UpstreamConnection]] = {}
        self._connecting: set[asyncio.Task[None]] = set()

    def take(self, replica: ReplicaEndpoint) -> UpstreamConnection | None:
        """An open idle connection, if there is one."""
        idle = self._idle.get(replica)
        return None if idle is None else idle.take()

    def connect(self, replica: ReplicaEndpoint, on_connected: OnConnected) -> asyncio.Task[None]:
        """Open a new one. Cancel the task if it is not needed any more."""
        task = self._loop.create_task(self._connect(replica, on_connected))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    def release(self, replica: ReplicaEndpoint, connection: UpstreamConnection) -> None:
        """Its response is complete, and it may carry another request."""
        self.idle_connections(replica).release(connection)

    def idle_connections(self, replica: ReplicaEndpoint) -> IdleConnections[UpstreamConnection]:
        idle = self._idle.get(replica)
        if idle is None:
            idle = self._idle[replica] = IdleConnections(self._loop)
        return idle

    def close_idle(self, now: float) -> None:
        """Close those that have been idle for too long, or whose replica gets no requests now."""
        for replica, idle in list(self._idle.items()):
            is_wanted = replica.is_routed and not replica.is_ejected
            idle.close_idle(now - MAX_IDLE_S if is_wanted else math.inf)
            if not replica.is_routed and not len(idle):
                del self._idle[replica]

    def close(self) -> None:
        for task in self._connecting:
            task.cancel()
        for idle in self._idle.values():
            idle.close()

    async def _connect(self, replica: ReplicaEndpoint, on_connected: OnConnected) -> None:
        release = partial(self.release, replica)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await self._loop.create_connection(
                    lambda: HttpConnection(ForwardedHead, release, self._clock),
                    replica.host,
                    replica.port,
                )
        except (OSError, TimeoutError, UnicodeError):  # the last: the host is not a valid name
            on_connected(None)
            return
        on_connected(connection)
