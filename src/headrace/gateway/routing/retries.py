"""What has become of one request so far, and whether it may be sent once more.

A request that no replica was sent, since none could be connected to, may go on as long as its time
allows. One that was sent may have been half done, and may have ended its replica, so it is sent
again `MAX_NUM_RETRIES` times at most; and after its second loss not before it is known whether the
replicas that lost it live. Pure; knows no connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.gateway.routing.replica import Replica

MAX_NUM_RETRIES = 2
"""Of a request that was sent and lost."""
NUM_LOST_BEFORE_VERDICT = 2


class Retries:
    """Of one request."""

    __slots__ = ("num_lost", "tried")

    def __init__(self) -> None:
        self.tried: dict[str, Replica] = {}
        """The replicas that were sent the request and failed, by id: none gets it twice."""
        self.num_lost = 0
        """How often it was sent, and may have been half done."""

    def failed(self, replica: Replica, *, is_lost: bool) -> None:
        """This replica was sent the request, and gave no good answer; ``is_lost``: it may have
        begun to work on it."""
        self.tried[replica.replica_id] = replica
        self.num_lost += is_lost

    @property
    def is_exhausted(self) -> bool:
        return self.num_lost > MAX_NUM_RETRIES

    @property
    def awaits_verdict(self) -> bool:
        """Whether it is not yet known if a replica that lost it is dead."""
        return self.num_lost >= NUM_LOST_BEFORE_VERDICT and any(
            replica.is_verdict_due for replica in self.tried.values()
        )
