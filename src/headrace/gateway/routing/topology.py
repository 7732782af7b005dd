"""One service while the gateway runs: its targets, its limits, its counts.

Knows no policy and no HTTP; it changes when the router tells it to.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.core.gateway_stats import TTFT_BUCKETS_S
from headrace.core.routes import Limits, ServiceRoute, TargetRoute
from headrace.gateway.keys import KeySet
from headrace.gateway.routing import refusals
from headrace.gateway.routing.counters import Histogram
from headrace.gateway.routing.decisions import Refused
from headrace.gateway.routing.quarantine import Quarantine
from headrace.gateway.routing.retry_budget import RetryBudget
from headrace.gateway.routing.split import Split
from headrace.gateway.routing.target_state import TargetState

ADDED_LATENCY_BUCKETS_S = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.5, 1)


class RevisionCounts:
    """What one revision has seen; kept as long as its service is listed or busy."""

    __slots__ = ("added_latency", "last_request_at", "num_requests_total", "num_waiting", "ttft")

    def __init__(self) -> None:
        self.num_waiting = 0
        self.num_requests_total = 0
        self.last_request_at: float | None = None
        self.ttft = Histogram(TTFT_BUCKETS_S)
        self.added_latency = Histogram(ADDED_LATENCY_BUCKETS_S)


class ServiceState:
    """Mutable; its figures may be read by all and are written by the router alone."""

    __slots__ = (
        "answers",
        "backoff_until",
        "budget",
        "counts",
        "forwards_key",
        "has_keys",
        "is_enabled",
        "is_listed",
        "keys",
        "limits",
        "name",
        "needs_prefix",
        "num_ejections_total",
        "num_outstanding",
        "num_retries_total",
        "num_waiting",
        "quarantine",
        "refusal",
        "split",
        "splits",
        "sticky_header",
        "sticky_user",
        "targets",
        "whole_split",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_listed = True
        self.is_enabled = True
        self.limits = Limits()
        self.keys = KeySet(())
        self.has_keys = False
        """It is open to those alone who have one of them."""
        self.forwards_key = False
        """Replicas get the key that opened the service."""
        self.sticky_header: bytes | None = None
        """In lower case; its value is what `facts_of` wants."""
        self.sticky_user = False
        self.refusal: Refused | None = None
        """The answer to every request, when there is only one."""
        self.backoff_until: float | None = None
        """When the first of its revisions is started again, if all of them keep crashing."""
        self.needs_prefix = False
        """Whether somebody will ask which replica served a prompt's beginning."""
        self.targets: list[TargetState] = []
        self.counts: dict[int, RevisionCounts] = {}
        self.split: Split | None = None
        """Over the targets that are open now; None when there are none."""
        self.whole_split: Split | None = None
        """Over all targets with weight."""
        self.splits: dict[tuple[bool, tuple[TargetState, ...]], Split] = {}
        """Each set of open targets goes on where it stopped."""
        self.num_outstanding = 0
        self.num_waiting = 0
        self.num_retries_total = 0
        self.num_ejections_total = 0
        self.answers: dict[tuple[int | None, int], int] = {}
        """By revision and status; requests that reached no revision are under None."""
        self.budget = RetryBudget()
        self.quarantine = Quarantine()

    def counts_of(self, revision: int) -> RevisionCounts:
        counts = self.counts.get(revision)
        if counts is None:
            counts = self.counts[revision] = RevisionCounts()
        return counts

    def follow(self, route: ServiceRoute) -> None:
        """Take over everything of the route but the targets' replicas."""
        self.is_listed = True
        self.is_enabled = route.is_enabled
        self.limits = route.limits
        self.keys = KeySet(route.key_hashes)
        self.has_keys = bool(route.key_hashes)
        self.forwards_key = route.forward_key
        sticky = route.sticky
        self.sticky_user = sticky is not None and sticky.user
        header = None if sticky is None else sticky.header
        self.sticky_header = None if header is None else header.lower().encode("latin-1")
        weights_before = {target: target.weight for target in self.targets}
        known = {(target.revision, target.port): target for target in self.targets}
        self.targets = [self._follow_target(known, target) for target in route.targets]
        for target in known.values():
            target.is_listed = False
        if weights_before != {target: target.weight for target in self.targets}:
            self.splits.clear()
        self.refusal = self._refusal(route)

    def leave(self) -> None:
        """It is in no route table any more."""
        self.is_listed = False
        self.refusal = refusals.service_gone(self.name)
        for target in self.targets:
            target.is_listed = False
        self.targets = []
        self.splits.clear()

    def refresh(self) -> None:
        """Find out anew who is usable, and between whom traffic is split."""
        weighted = []
        for target in self.targets:
            target.refresh()
            if target.weight > 0:
                weighted.append(target)
        opened = [target for target in weighted if target.is_open]
        self.whole_split = self.split_over(weighted) if weighted else None
        self.split = self.split_over(opened) if opened else None
        self.backoff_until = _first_start(weighted)
        self.needs_prefix = any(len(target.replicas) > 1 for target in weighted)

    def split_over(self, targets: Sequence[TargetState], is_retry: bool = False) -> Split:
        """The way through these targets, from where it stopped; retries have their own."""
        key = (is_retry, tuple(targets))
        split = self.splits.get(key)
        if split is None:
            split = self.splits[key] = Split(targets)
        return split

    def _follow_target(
        self, known: dict[tuple[int, int], TargetState], route: TargetRoute
    ) -> TargetState:
        target = known.pop((route.revision, route.port), None)
        if target is None:
            target = TargetState(self, route.revision, route.port, self.counts_of(route.revision))
        target.weight = route.weight
        target.scales_from_zero = route.scales_from_zero
        return target

    def _refusal(self, route: ServiceRoute) -> Refused | None:
        if not route.is_enabled:
            return refusals.disabled(self.name)
        if not any(target.weight > 0 for target in self.targets):
            return refusals.no_targets(self.name)
        return None


def _first_start(targets: Sequence[TargetState]) -> float | None:
    """None if one of these targets has a replica, or may soon."""
    starts = [target.backoff_until for target in targets if not target.replicas]
    known = [start for start in starts if start is not None]
    return min(known) if known and len(known) == len(targets) else None
