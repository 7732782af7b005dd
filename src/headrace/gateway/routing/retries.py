"""Whether, when and where one failed request may be sent again.

A request that no replica received, since no connection could be opened, is retried as long as its
time allows. One that was sent may have been processed in part, and may have crashed its replica, so
it is retried `MAX_NUM_RETRIES` times at most; after its second loss not before the replicas that
lost it have been probed. Every retry needs room in its service's budget. Pure.
"""

from __future__ import annotations

from headrace.gateway import errors
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.routing.decisions import NOT_PROCESSED_STATUS, RetryTime
from headrace.gateway.routing.topology import ReplicaEndpoint, ServiceState

MAX_NUM_RETRIES = 2
"""Of a request that was sent and lost."""
NUM_LOSSES_BEFORE_PROBE = 2


class Retries:
    """The retries of one request."""

    __slots__ = ("num_lost", "tried")

    def __init__(self) -> None:
        self.tried: dict[str, ReplicaEndpoint] = {}
        """The replicas that received the request and failed, by id: none gets it twice."""
        self.num_lost = 0
        """How often it was sent and may have been processed in part."""

    def failed(self, replica: ReplicaEndpoint, *, is_lost: bool) -> None:
        """This replica received the request and gave no good response; ``is_lost``: it may have
        processed it in part."""
        self.tried[replica.replica_id] = replica
        self.num_lost += is_lost

    @property
    def is_exhausted(self) -> bool:
        return self.num_lost > MAX_NUM_RETRIES

    @property
    def awaits_probe(self) -> bool:
        """Whether it is not known yet if a replica that lost it is dead."""
        return self.num_lost >= NUM_LOSSES_BEFORE_PROBE and any(
            replica.needs_probe for replica in self.tried.values()
        )

    @property
    def all_replicas_are_healthy(self) -> bool:
        """All replicas that failed the request are healthy, so none will be replaced."""
        return all(
            replica.is_routed and replica.health.is_healthy for replica in self.tried.values()
        )


def decide_retry(
    service: ServiceState, retries: Retries, digest: bytes | None, revision: int, now: float
) -> RetryTime | ErrorResponse:
    """After an attempt at this revision without a response. LATER: decide again until the request's
    time is over. ``digest``: of the request, if it is known."""
    if retries.awaits_probe:
        return RetryTime.LATER
    if retries.is_exhausted:
        blocked = None if digest is None else service.quarantine_error(digest, revision, now)
        return blocked or errors.upstream_failed(service.name)
    return RetryTime.NOW if take_from_budget(service, now) else RetryTime.LATER


def retries_bad_status(
    service: ServiceState, retries: Retries, replica: ReplicaEndpoint, status: int, now: float
) -> bool:
    """Whether another replica is tried after this replica's 502, 503 or 504. If none can take the
    request now, and the replica is not about to stop, the client gets that response."""
    retries.failed(replica, is_lost=status != NOT_PROCESSED_STATUS)
    is_leaving = not replica.is_routed or replica.is_ejected
    if retries.is_exhausted or not (is_leaving or service.has_untried(retries.tried)):
        return False
    return take_from_budget(service, now)


def all_replicas_failed(service: ServiceState, retries: Retries | None) -> bool:
    """Whether every replica has failed the request although it is healthy: a retry would fail too,
    since no replacement will be started."""
    if retries is None or not retries.tried:
        return False
    return not service.has_untried(retries.tried) and retries.all_replicas_are_healthy


def take_from_budget(service: ServiceState, now: float) -> bool:
    """Whether the budget has room for one more retry, which is then counted."""
    return service.budget.take(now)
