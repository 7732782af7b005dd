"""Records an event for each request that the gateway quarantines because it crashes replicas."""

from collections.abc import Callable
from datetime import datetime

from headrace.control.resources import Event, EventReason
from headrace.control.store.store import Store
from headrace.core.gateway.stats import GatewayStats, QuarantinedRequest

_NUM_RECENT = 100
"""Events of a service that are searched for those recorded before a restart."""

_Key = tuple[str, str, int]


class QuarantineEvents:
    """Each quarantined request is recorded once."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._recorded: frozenset[_Key] = frozenset()

    def has_new(self, stats: GatewayStats) -> bool:
        """Whether there is something to record."""
        return any(_key(request) not in self._recorded for request in stats.quarantined)

    def record(self, stats: GatewayStats) -> None:
        """Write an event for each new one. Uses the database: call it in a thread."""
        for request in stats.quarantined:
            if _key(request) not in self._recorded:
                self._record_one(request)
        self._recorded = frozenset(_key(request) for request in stats.quarantined)

    def _record_one(self, request: QuarantinedRequest) -> None:
        service = request.service
        why = (
            f"A request crashed {request.num_replicas} replicas in a row (digest "
            f"{request.digest}). The gateway rejects copies of it with 422, request_kills_replicas."
        )
        with self._store.begin() as tx:
            if tx.service(service) is None:
                return
            recent = {(event.subject, event.why) for event in tx.events(service, limit=_NUM_RECENT)}
            for revision in request.revisions:
                subject = f"revision {service}/{revision}"
                if (subject, why) not in recent:
                    what = EventReason.QUARANTINED
                    tx.add_event(Event(self._clock(), subject, what, why, service=service))


def _key(request: QuarantinedRequest) -> _Key:
    return request.service, request.digest, request.num_replicas
