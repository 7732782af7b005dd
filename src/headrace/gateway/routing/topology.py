"""The services, their traffic targets and the replicas of these, while the gateway runs.

One tree with links to the parents, in one module for that reason. The registry builds it from the
route table, the router updates its counters and flags. No policy is here, and no I/O.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence

from headrace.core.gateway.routes import Limits, ServiceRoute, TargetRoute
from headrace.gateway import errors
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.keys import KeySet
from headrace.gateway.routing.balancer import PrefixAffinity
from headrace.gateway.routing.counters import RevisionCounts, TrafficCounts, TrafficLabels
from headrace.gateway.routing.ejection import Health
from headrace.gateway.routing.quarantine import Loss, Quarantine, Suspect
from headrace.gateway.routing.retry_budget import RetryBudget
from headrace.gateway.routing.split import Split, seed_of

MAX_NUM_LOSSES = 1024
"""Stored per replica."""
MAX_NUM_MODELS = 32
"""Of a service, that are counted under their names."""
MAX_MODEL_LENGTH = 128
"""Of a label, in characters."""
OTHER_MODELS = "other"


class ServiceState:
    """One service. Everyone may read it; the registry and the router write it."""

    __slots__ = (
        "backoff_until",
        "budget",
        "counts",
        "forwards_key",
        "full_split",
        "has_keys",
        "is_enabled",
        "is_listed",
        "keys",
        "limits",
        "models",
        "name",
        "needs_prefix",
        "num_ejections_total",
        "num_outstanding",
        "num_waiting",
        "quarantine",
        "split",
        "splits",
        "sticky_header",
        "sticky_user",
        "targets",
        "traffic",
        "unavailable",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_listed = True
        self.is_enabled = True
        self.limits = Limits()
        self.keys = KeySet(())
        self.has_keys = False
        """Requests need one of the keys."""
        self.forwards_key = False
        """Replicas receive the key that authorized the request."""
        self.sticky_header: bytes | None = None
        """In lower case; its value is the sticky key."""
        self.sticky_user = False
        """The body's ``user`` is the sticky key."""
        self.unavailable: ErrorResponse | None = None
        """The response to every request, while the service is disabled or has no targets."""
        self.backoff_until: float | None = None
        """The next start of a revision, if all revisions with traffic are in a crash loop."""
        self.needs_prefix = False
        """Whether prefix affinity can make a difference: a target has several replicas."""
        self.targets: list[TargetState] = []
        self.counts: dict[int, RevisionCounts] = {}
        self.split: Split[TargetState] | None = None
        """Over the targets that are open now; None when there are none."""
        self.full_split: Split[TargetState] | None = None
        """Over all targets with weight."""
        self.splits: dict[tuple[bool, tuple[TargetState, ...]], Split[TargetState]] = {}
        """Each set of open targets continues where it stopped."""
        self.num_outstanding = 0
        self.num_waiting = 0
        self.num_ejections_total = 0
        self.traffic: dict[TrafficLabels, TrafficCounts] = {}
        self.models: dict[str, str] = {"": ""}
        """The labels of models, by their names in responses."""
        self.budget = RetryBudget()
        self.quarantine = Quarantine()

    def counts_of(self, revision: int) -> RevisionCounts:
        counts = self.counts.get(revision)
        if counts is None:
            counts = self.counts[revision] = RevisionCounts()
        return counts

    def traffic_of(self, revision: int | None, key: str, model: str) -> TrafficCounts:
        """``key`` and ``model`` are empty if the request had none."""
        label = self.models.get(model)
        if label is None:
            label = OTHER_MODELS
            if len(self.models) <= MAX_NUM_MODELS:  # one of them is the empty name
                label = self.models[model] = model[:MAX_MODEL_LENGTH]
        labels = (revision, key, label)
        counts = self.traffic.get(labels)
        if counts is None:
            counts = self.traffic[labels] = TrafficCounts()
        return counts

    def update(self, route: ServiceRoute) -> None:
        """Apply everything of the route but the targets' replicas."""
        self.is_listed = True
        self.is_enabled = route.is_enabled
        self.limits = route.limits
        self.keys = KeySet(route.key_hashes, route.key_names)
        self.has_keys = bool(route.key_hashes)
        self.forwards_key = route.forward_key
        sticky = route.sticky
        self.sticky_user = sticky is not None and sticky.user
        header = None if sticky is None else sticky.header
        self.sticky_header = None if header is None else header.lower().encode("latin-1")
        weights_before = {target: target.weight for target in self.targets}
        known = {(target.revision, target.port): target for target in self.targets}
        self.targets = [self._update_target(known, target) for target in route.targets]
        for target in known.values():
            target.is_listed = False
        if weights_before != {target: target.weight for target in self.targets}:
            self.splits.clear()
        self.unavailable = self._why_unavailable(route)

    def remove(self) -> None:
        """The service has left the route table."""
        self.is_listed = False
        self.unavailable = errors.service_gone(self.name)
        for target in self.targets:
            target.is_listed = False
        self.targets = []
        self.splits.clear()

    def refresh(self) -> None:
        """Recompute which replicas are usable, and the targets that traffic is split over."""
        weighted = []
        for target in self.targets:
            target.refresh()
            if target.weight > 0:
                weighted.append(target)
        opened = [target for target in weighted if target.is_open]
        self.full_split = self.split_over(weighted) if weighted else None
        self.split = self.split_over(opened) if opened else None
        self.backoff_until = _first_start(weighted)
        self.needs_prefix = any(len(target.replicas) > 1 for target in weighted)

    def split_over(
        self, targets: Sequence[TargetState], is_retry: bool = False
    ) -> Split[TargetState]:
        """The split over these targets, where it stopped; retries have their own."""
        key = (is_retry, tuple(targets))
        split = self.splits.get(key)
        if split is None:
            split = self.splits[key] = Split(targets)
        return split

    def has_untried(self, tried: Collection[str]) -> bool:
        """Whether a usable replica is not among these ids."""
        return any(target.untried(tried) for target in self.targets)

    def quarantine_error(self, digest: bytes, revision: int, now: float) -> ErrorResponse | None:
        """The response to this request, if it is quarantined at this revision."""
        suspect = self.quarantine.find(digest, now)
        if suspect is None or not suspect.is_blocked(revision, now):
            return None
        blocked_s = math.ceil(suspect.blocked_s(now))
        return errors.request_kills_replicas(self.name, suspect.num_deaths, blocked_s)

    def _update_target(
        self, known: dict[tuple[int, int], TargetState], route: TargetRoute
    ) -> TargetState:
        target = known.pop((route.revision, route.port), None)
        if target is None:
            target = TargetState(self, route.revision, route.port, self.counts_of(route.revision))
        target.weight = route.weight
        target.scales_from_zero = route.scales_from_zero
        return target

    def _why_unavailable(self, route: ServiceRoute) -> ErrorResponse | None:
        if not route.is_enabled:
            return errors.service_disabled(self.name)
        if not any(target.weight > 0 for target in self.targets):
            return errors.no_targets(self.name)
        return None


class TargetState:
    """One revision's port, as long as the route table lists it."""

    __slots__ = (
        "affinity",
        "backoff_until",
        "counts",
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
        """The next start of its revision, if that is in a crash loop."""
        self.is_listed = True
        self.replicas: list[ReplicaEndpoint] = []
        """Those in the route table."""
        self.usable: list[ReplicaEndpoint] = []
        """Those of them that are not ejected."""
        self.turn = 0
        """Round robin among replicas with equally many requests."""
        self.affinity: PrefixAffinity[ReplicaEndpoint] = PrefixAffinity()
        self.seed = seed_of(revision, port)

    @property
    def is_open(self) -> bool:
        """Whether new requests get its share: a replica can take them, or will be started."""
        if self.usable:
            return True
        return self.scales_from_zero and not self.replicas and self.backoff_until is None

    def refresh(self) -> None:
        """Recompute which replicas are usable."""
        self.usable = [replica for replica in self.replicas if not replica.is_ejected]

    def untried(self, tried: Collection[str]) -> list[ReplicaEndpoint]:
        """The usable replicas whose ids are not among these."""
        return [replica for replica in self.usable if replica.replica_id not in tried]


class ReplicaEndpoint:
    """One replica's address, load and health; it exists while it is routed to or has requests.

    The router writes it, except ``last_received_at``, which the data path writes.
    """

    __slots__ = (
        "address",
        "busy_since",
        "cut_at",
        "health",
        "host",
        "is_routed",
        "isolated",
        "last_received_at",
        "losses",
        "needs_probe",
        "num_failures_total",
        "num_outstanding",
        "num_requests_total",
        "port",
        "replica_id",
        "target",
    )

    def __init__(self, replica_id: str, host: str, port: int, target: TargetState) -> None:
        self.replica_id = replica_id
        self.host = host
        self.port = port
        self.address = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
        """The value of ``Host``."""
        self.target = target
        self.is_routed = True
        self.num_outstanding = 0
        self.num_requests_total = 0
        self.num_failures_total = 0
        self.last_received_at = -math.inf
        """Monotonic time at which its last byte was received."""
        self.busy_since = -math.inf
        """When it last got a request while it had none."""
        self.losses: deque[Loss] = deque(maxlen=MAX_NUM_LOSSES)
        """Attempts without a good response."""
        self.cut_at = -math.inf
        """When it last closed a connection with a request."""
        self.needs_probe = False
        """It lost a request, and has not been probed since."""
        self.isolated: Suspect | None = None
        """The request that is isolated here."""
        self.health = Health()

    @property
    def service(self) -> str:
        return self.target.service.name

    @property
    def revision(self) -> int:
        return self.target.revision

    @property
    def is_ejected(self) -> bool:
        return self.health.is_ejected

    @property
    def waiting_since(self) -> float | None:
        """Since when it has sent nothing while it has requests; None if it has none."""
        return max(self.last_received_at, self.busy_since) if self.num_outstanding else None

    def __repr__(self) -> str:
        return f"ReplicaEndpoint({self.replica_id} at {self.host}:{self.port})"


def _first_start(targets: Sequence[TargetState]) -> float | None:
    """None if one of these targets has a replica, or may soon have one."""
    starts = [target.backoff_until for target in targets if not target.replicas]
    known = [start for start in starts if start is not None]
    return min(known) if known and len(known) == len(targets) else None
