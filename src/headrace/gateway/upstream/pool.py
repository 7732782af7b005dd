"""Connections to replicas: opened when needed, kept a short while for the next request.

Knows when a connection may be used again; nothing of what is sent over it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from headrace.gateway.routing.replica import Replica
from headrace.gateway.upstream.connection import UpstreamConnection

CONNECT_TIMEOUT_S = 3.0
MAX_IDLE_S = 4.0
"""Shorter than the shortest time that model servers keep idle connections (uvicorn's 5 s), so that
none is used just as its replica closes it."""

Connected = Callable[[UpstreamConnection | None], None]
"""Told the new connection, or None when there is none."""


class Pool:
    """All connections of one gateway; for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._idle: dict[Replica, list[UpstreamConnection]] = {}
        """The one used last is last, and is used again first."""
        self._connecting: set[asyncio.Task[None]] = set()

    def take(self, replica: Replica) -> UpstreamConnection | None:
        """One that is open and not in use, if there is one."""
        idle = self._idle.get(replica)
        while idle:
            connection = idle.pop()
            if connection.is_usable:
                return connection
        return None

    def connect(self, replica: Replica, connected: Connected) -> asyncio.Task[None]:
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

    def keep(self, replica: Replica, connection: UpstreamConnection) -> None:
        """It has answered, and may be used again."""
        connection.idle_since = self._clock()
        idle = self._idle.get(replica)
        if idle is None:
            self._idle[replica] = [connection]
        else:
            idle.append(connection)

    async def _connect(self, replica: Replica, connected: Connected) -> None:
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
