"""All requests in flight: those at replicas, and the queues of those that wait for one."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from headrace.gateway.reporting.request_log import RequestLog
from headrace.gateway.request_state import State
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ReplicaEndpoint, ServiceState
from headrace.gateway.upstream.pool import Pool


class Queueable(Protocol):
    """A proxied request."""

    state: State
    service: ServiceState
    queued_for: int | None
    """The revision that it is queued for, while it is in a queue. `InFlight` writes it."""

    def retry_selection(self, now: float) -> None:
        """Something has changed for the queued requests of its service."""

    def check_timeouts(self, now: float) -> None: ...

    def replica_died(self, replica: ReplicaEndpoint, now: float) -> None:
        """Probes have failed, although the replica's connections are open."""


class InFlight:
    """For one event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, router: Router, pool: Pool, log: RequestLog
    ) -> None:
        self.router = router
        self.pool = pool
        self.log = log
        self.is_draining = False
        self._loop = loop
        self._requests: set[Queueable] = set()
        self._queues: dict[ServiceState, dict[Queueable, None]] = {}
        """First come, first served; a dict, since a request can leave from the middle."""
        self._changed: dict[ServiceState, None] = {}
        router.on_change.append(self._on_change)

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, proxied: Queueable) -> None:
        """Before it is started."""
        self._requests.add(proxied)

    def check_timeouts(self, now: float) -> None:
        for proxied in list(self._requests):
            if proxied.state is not State.DONE:
                proxied.check_timeouts(now)

    def replica_died(self, replica: ReplicaEndpoint, now: float) -> None:
        for proxied in list(self._requests):
            if proxied.state is not State.DONE:
                proxied.replica_died(replica, now)

    # for proxied requests

    def enqueue(self, proxied: Queueable, revision: int) -> None:
        """At the end of the queue; it keeps its place if it has one."""
        if proxied.queued_for == revision:
            return
        service = proxied.service
        if proxied.queued_for is None:
            self._queues.setdefault(service, {})[proxied] = None
        else:
            self.router.count_waiting(service, proxied.queued_for, -1)
        proxied.queued_for = revision
        self.router.count_waiting(service, revision, 1)

    def dequeue(self, proxied: Queueable) -> None:
        revision = proxied.queued_for
        assert revision is not None
        proxied.queued_for = None
        service = proxied.service
        queue = self._queues[service]
        del queue[proxied]
        if not queue:
            del self._queues[service]
        self.router.count_waiting(service, revision, -1)

    def discard(self, proxied: Queueable) -> None:
        """It is done."""
        self._requests.discard(proxied)
        if self._changed:  # queued requests go before new ones
            self._retry_selection()

    # helpers

    def _on_change(self, service: ServiceState) -> None:
        """Retry the selection in the loop's next step: the router is in the middle of one."""
        if service not in self._queues:
            return
        if not self._changed:
            self._loop.call_soon(self._retry_selection)
        self._changed[service] = None

    def _retry_selection(self) -> None:
        changed, self._changed = self._changed, {}
        now = time.monotonic()
        for service in changed:
            for proxied in list(self._queues.get(service, ())):
                limit = service.limits.max_concurrency
                if limit is not None and service.num_outstanding >= limit:
                    break  # none can be sent before another one ends
                proxied.retry_selection(now)
