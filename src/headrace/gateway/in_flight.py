"""All requests under way: those at replicas, and those that wait in line for one.

Wakes who waits when the router says that something has changed, and ends what takes too long.
Knows no sockets.
"""

from __future__ import annotations

import asyncio
import time

from headrace.gateway.proxied_request import Exchange
from headrace.gateway.request_state import State
from headrace.gateway.routing.replica import Replica
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ServiceState
from headrace.gateway.upstream.pool import Pool


class Exchanges:
    """For one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, router: Router, pool: Pool) -> None:
        self.router = router
        self.pool = pool
        self.is_draining = False
        self._loop = loop
        self._open: set[Exchange] = set()
        self._lines: dict[ServiceState, dict[Exchange, None]] = {}
        """Who waits, first come first; a dict, since any of them may leave."""
        self._changed: dict[ServiceState, None] = {}
        router.on_change.append(self._on_change)

    @property
    def num_open(self) -> int:
        return len(self._open)

    def add(self, exchange: Exchange) -> None:
        """It is about to start."""
        self._open.add(exchange)

    def check_times(self, now: float) -> None:
        for exchange in list(self._open):
            if exchange.state is not State.ENDED:
                exchange.check_time(now)

    def replica_died(self, replica: Replica, now: float) -> None:
        for exchange in list(self._open):
            if exchange.state is not State.ENDED:
                exchange.replica_died(replica, now)

    # for exchanges

    def wait_in_line(self, exchange: Exchange, revision: int) -> None:
        """Take a place at the end of the line, or keep the one that it has."""
        if exchange.held_revision == revision:
            return
        service = exchange.service
        if exchange.held_revision is None:
            self._lines.setdefault(service, {})[exchange] = None
        else:
            self.router.waiting(service, exchange.held_revision, -1)
        exchange.held_revision = revision
        self.router.waiting(service, revision, 1)

    def leave_line(self, exchange: Exchange) -> None:
        """It waits no longer."""
        revision = exchange.held_revision
        assert revision is not None
        exchange.held_revision = None
        service = exchange.service
        line = self._lines[service]
        del line[exchange]
        if not line:
            del self._lines[service]
        self.router.waiting(service, revision, -1)

    def ended(self, exchange: Exchange) -> None:
        self._open.discard(exchange)
        if self._changed:  # who waits goes before who comes next
            self._wake()

    # helpers

    def _on_change(self, service: ServiceState) -> None:
        """Choose again soon, not now: whoever tells of the change is in the middle of it."""
        if service not in self._lines:
            return
        if not self._changed:
            self._loop.call_soon(self._wake)
        self._changed[service] = None

    def _wake(self) -> None:
        changed, self._changed = self._changed, {}
        now = time.monotonic()
        for service in changed:
            for exchange in list(self._lines.get(service, ())):
                limit = service.limits.max_concurrency
                if limit is not None and service.num_outstanding >= limit:
                    break  # nobody's turn comes before somebody ends
                exchange.choose_again(now)
