"""Records as events which requests the gateway refuses since they crash replicas.

Knows the gateway's figures and the store; decides nothing about requests.
"""

from collections.abc import Callable
from datetime import datetime

from headrace.control.resources import Event
from headrace.control.store.store import Store
from headrace.core.gateway_stats import GatewayStats, QuarantinedRequest

WHAT = "refuses a request"
_NUM_RECENT = 100
"""Events of a service that are searched for those of an earlier control plane."""

_Key = tuple[str, str, int]


class QuarantineEvents:
    """One for the controller's life."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._recorded: frozenset[_Key] = frozenset()

    def is_news(self, stats: GatewayStats) -> bool:
        """Whether there is something to record."""
        return any(_key(request) not in self._recorded for request in stats.quarantined)

    def record(self, stats: GatewayStats) -> None:
        """Write an event for what is new. Uses the database: call it in a thread."""
        for request in stats.quarantined:
            if _key(request) not in self._recorded:
                self._record_one(request)
        self._recorded = frozenset(_key(request) for request in stats.quarantined)

    def _record_one(self, request: QuarantinedRequest) -> None:
        service = request.service
        why = (
            f"{request.num_replicas} replicas ended while they worked on it, one after the other "
            f"(digest {request.digest}). The gateway answers copies of it with 422, "
            "request_kills_replicas."
        )
        with self._store.begin() as tx:
            if tx.service(service) is None:
                return
            recent = {(event.subject, event.why) for event in tx.events(service, limit=_NUM_RECENT)}
            for revision in request.revisions:
                subject = f"revision {service}/{revision}"
                if (subject, why) not in recent:
                    tx.add_event(Event(self._clock(), subject, WHAT, why, service=service))


def _key(request: QuarantinedRequest) -> _Key:
    return request.service, request.digest, request.num_replicas
