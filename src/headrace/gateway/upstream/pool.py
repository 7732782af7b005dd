"""Connections to replicas: opened when needed, kept a short while for the next request.

Knows when a connection may be used again; nothing of what is sent over it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from headrace.gateway.routing.topology import ReplicaEndpoint
from headrace.gateway.upstream.connection import UpstreamConnection

CONNECT_TIMEOUT_S = 3.0
MAX_IDLE_S = 4.0
"""Shorter than the shortest time that model servers keep idle connections (uvicorn's 5 s), so that
none is used just as its replica closes it."""
REST_S = 0.02
"""Some servers (llama-server) promise to keep a connection and close it once a stream has ended.
A request that is sent meanwhile is lost, and nobody can tell whether it was begun. So after the
first stream of a replica its connection rests for so long, and whether it is still open then tells
which kind it is."""

OnConnected = Callable[[UpstreamConnection | None], None]
"""Told the new connection, or None when there is none."""


class Pool:
    """All connections of one gateway; for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._idle: dict[ReplicaEndpoint, list[UpstreamConnection]] = {}
        """The one used last is last, and is used again first."""
        self._connecting: set[asyncio.Task[None]] = set()
        self._resting: set[UpstreamConnection] = set()

    def take(self, replica: ReplicaEndpoint) -> UpstreamConnection | None:
        """One that is open and not in use, if there is one."""
        idle = self._idle.get(replica)
        while idle:
            connection = idle.pop()
            if connection.is_usable:
                return connection
        return None

    def connect(self, replica: ReplicaEndpoint, connected: OnConnected) -> asyncio.Task[None]:
        """Open one more; cancel the task if it is not wanted any more."""
        task = self._loop.create_task(self._connect(replica, connected))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    def close_idle(self, now: float) -> None:
        """Close those that have been idle for long, or whose replica gets no requests now."""
        for replica, idle in list(self._idle.items()):
            is_wanted = replica.is_routed and not replica.is_ejected
            kept = []
            for connection in idle:
                if is_wanted and now - connection.idle_since < MAX_IDLE_S:
                    kept.append(connection)
                else:
                    connection.close()
            if kept:
                self._idle[replica] = kept
            else:
                del self._idle[replica]

    def close(self) -> None:
        for task in self._connecting:
            task.cancel()
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()
        for connection in self._resting:
            connection.close()

    def keep(self, replica: ReplicaEndpoint, connection: UpstreamConnection) -> None:
        """It has answered, and may be used again."""
        connection.idle_since = self._clock()
        if connection.was_chunked and not replica.keeps_after_streams:
            self._keep_after_stream(replica, connection)
            return
        idle = self._idle.get(replica)
        if idle is None:
            self._idle[replica] = [connection]
        else:
            idle.append(connection)

    def _keep_after_stream(self, replica: ReplicaEndpoint, connection: UpstreamConnection) -> None:
        """Not before it is known that its replica leaves it open."""
        if replica.keeps_after_streams is None:
            self._resting.add(connection)
            self._loop.call_later(REST_S, self._rested, replica, connection)
        else:
            connection.close()

    def _rested(self, replica: ReplicaEndpoint, connection: UpstreamConnection) -> None:
        self._resting.discard(connection)
        if replica.keeps_after_streams is None:
            replica.keeps_after_streams = connection.is_usable
        if connection.is_usable:
            self.keep(replica, connection)

    async def _connect(self, replica: ReplicaEndpoint, connected: OnConnected) -> None:
        create = partial(UpstreamConnection, partial(self.keep, replica))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await self._loop.create_connection(
                    create, replica.host, replica.port
                )
        except (OSError, TimeoutError, UnicodeError):  # the last: its host can be no name
            connected(None)
            return
        connected(connection)
