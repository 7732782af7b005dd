"""Reuse of connections, after streams only once that is known to work."""

from __future__ import annotations

import asyncio

import pytest

from headrace.http1.idle_connections import IdleConnections


class Connection:
    def __init__(self, was_chunked: bool = False, idle_since: float = 0.0) -> None:
        self.was_chunked = was_chunked
        self.idle_since = idle_since
        self.is_usable = True

    def close(self) -> None:
        self.is_usable = False


@pytest.mark.parametrize("stays_open", [True, False])
def test_the_first_stream_decides_whether_streams_are_reused(stays_open: bool) -> None:
    async def scenario() -> None:
        idle: IdleConnections[Connection] = IdleConnections(asyncio.get_running_loop())
        first, second, plain = Connection(True), Connection(True), Connection()
        idle.release(first)
        idle.release(second)
        idle.release(plain)
        assert idle.take() is plain
        assert idle.take() is None
        first.is_usable = stays_open
        await idle.probed()
        assert idle.keeps_alive_after_stream is stays_open
        assert [idle.take(), idle.take()] == ([second, first] if stays_open else [None, None])
        assert second.is_usable is stays_open
        later = Connection(True)
        idle.release(later)
        assert idle.take() is (later if stays_open else None)

    asyncio.run(scenario())


def test_expired_connections_are_closed_and_closed_ones_are_not_used() -> None:
    async def scenario() -> None:
        idle: IdleConnections[Connection] = IdleConnections(asyncio.get_running_loop())
        old, fresh, closed = Connection(idle_since=1.0), Connection(idle_since=2.0), Connection()
        for connection in (old, fresh):
            idle.release(connection)
        idle.close_idle(1.0)
        assert not old.is_usable
        closed.idle_since = 3.0
        idle.release(closed)
        closed.close()
        assert idle.take() is fresh
        assert len(idle) == 0

    asyncio.run(scenario())
