"""One target of a service while the gateway runs: its replicas, and which can take requests.

Knows no policy; the router asks balancer, split and prefix affinity about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.gateway.routing.decisions import Hold
from headrace.gateway.routing.prefix_affinity import PrefixAffinity
from headrace.gateway.routing.split import seed_of

if TYPE_CHECKING:
    from headrace.gateway.routing.replica import Replica
    from headrace.gateway.routing.topology import RevisionCounts, ServiceState


class TargetState:
    """One revision's port, as long as the route table lists it."""

    __slots__ = (
        "affinity",
        "backoff_until",
        "counts",
        "hold",
        "is_listed",
        "port",
        "replicas",
        "revision",
        "scales_from_zero",
        "seed",
        "service",
        "turn",
        "usable",
        "weight",
    )

    def __init__(
        self, service: ServiceState, revision: int, port: int, counts: RevisionCounts
    ) -> None:
        self.service = service
        self.revision = revision
        self.port = port
        self.counts = counts
        self.weight = 0
        self.scales_from_zero = False
        self.backoff_until: float | None = None
        """When its revision is started again, which keeps crashing."""
        self.is_listed = True
        self.replicas: list[Replica] = []
        """Those in the route table."""
        self.usable: list[Replica] = []
        """Of these, the ones that are not ejected."""
        self.turn = 0
        """Whose turn it is among equally busy replicas."""
        self.affinity = PrefixAffinity()
        self.seed = seed_of(revision, port)
        self.hold = Hold(revision)

    @property
    def is_open(self) -> bool:
        """Whether new requests get its share: somebody can take them, or will come for them."""
        if self.usable:
            return True
        return self.scales_from_zero and not self.replicas and self.backoff_until is None

    def refresh(self) -> None:
        """Find out anew who is usable."""
        self.usable = [replica for replica in self.replicas if not replica.is_ejected]
