"""The idle connections to one server, and whether they may be used again.

Some servers (llama-server) announce keep-alive and close the connection after a streamed response.
A request that is sent at that moment is lost, and it is unknown whether it was processed. So after
a server's first streamed response the connection is not used for `KEEPALIVE_PROBE_S`; whether it is
open then decides for all later streams.
"""

from __future__ import annotations

import asyncio
from typing import Generic, Protocol, TypeVar

KEEPALIVE_PROBE_S = 0.02


class Reusable(Protocol):
    """A connection, as `HttpConnection`."""

    was_chunked: bool
    idle_since: float

    @property
    def is_usable(self) -> bool: ...

    def close(self) -> None: ...


ConnectionT = TypeVar("ConnectionT", bound=Reusable)


class IdleConnections(Generic[ConnectionT]):
    """For one server and one event loop."""

    __slots__ = ("_idle", "_loop", "_probe", "_probing_keepalive", "keeps_alive_after_stream")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._idle: list[ConnectionT] = []
        """The most recently used one is last, and is used first."""
        self._probing_keepalive: list[ConnectionT] = []
        self._probe: asyncio.Future[None] | None = None
        self.keeps_alive_after_stream: bool | None = None
        """None: not known yet."""

    def __len__(self) -> int:
        return len(self._idle) + len(self._probing_keepalive)

    def take(self) -> ConnectionT | None:
        """An open idle connection, if there is one."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.is_usable:
                return connection
        return None

    def release(self, connection: ConnectionT) -> None:
        """Its response is complete, and it may carry another request."""
        if not connection.was_chunked or self.keeps_alive_after_stream:
            self._idle.append(connection)
        elif self.keeps_alive_after_stream is None:
            self._probing_keepalive.append(connection)
            if self._probe is None:
                self._probe = self._loop.create_future()
                self._loop.call_later(KEEPALIVE_PROBE_S, self._end_probe)
        else:
            connection.close()

    async def probed(self) -> None:
        """Returns when no probe is in progress."""
        if self._probe is not None:
            await asyncio.shield(self._probe)

    def close_idle(self, idle_since: float) -> None:
        """Close the connections that have been idle since then or longer."""
        kept = []
        for connection in self._idle:
            if connection.idle_since > idle_since:
                kept.append(connection)
            else:
                connection.close()
        self._idle = kept

    def close(self) -> None:
        for connection in (*self._idle, *self._probing_keepalive):
            connection.close()
        self._idle.clear()
        self._probing_keepalive.clear()

    def _end_probe(self) -> None:
        probing, self._probing_keepalive = self._probing_keepalive, []
        if probing and self.keeps_alive_after_stream is None:
            self.keeps_alive_after_stream = probing[0].is_usable
        probe, self._probe = self._probe, None
        for connection in probing:
            if connection.is_usable:
                self.release(connection)
        if probe is not None and not probe.done():
            probe.set_result(None)
