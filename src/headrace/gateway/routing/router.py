"""Every decision of the gateway: whose request it is, where it goes, whether it may be retried.

One request: `find_service`, `facts_of`, then `choose`; what is Chosen is begun with
`begin` and ended with `end`, once each; what is Hold waits and is chosen again when ``on_change``
says so; at last `answered` counts what the client got. Nothing here reads a clock, does I/O or
awaits. Knows no HTTP beyond the bytes of a path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

from headrace.core.gateway_stats import GatewayStats
from headrace.core.routes import RouteTable
from headrace.gateway.reporting.stats import gateway_stats
from headrace.gateway.routing import refusals
from headrace.gateway.routing.balancer import pick
from headrace.gateway.routing.decisions import Choice, Chosen, Hold, Outcome, Refused, ServiceMatch
from headrace.gateway.routing.ejection import ProbeOutcome, Verdict
from headrace.gateway.routing.quarantine import LOSS_WINDOW_S, Loss, Suspect
from headrace.gateway.routing.registry import Registry
from headrace.gateway.routing.replica import Replica
from headrace.gateway.routing.request_features import RequestFacts
from headrace.gateway.routing.split import hash_of
from headrace.gateway.routing.target_state import TargetState
from headrace.gateway.routing.topology import ServiceState

__all__ = [
    "Choice",
    "Chosen",
    "Hold",
    "Outcome",
    "ProbeOutcome",
    "Refused",
    "Replica",
    "RequestFacts",
    "Router",
    "ServiceMatch",
    "ServiceState",
    "Verdict",
]


class Router:
    """Follows one route table at a time; all methods are for one thread."""

    def __init__(self, now: float) -> None:
        self.started_at = now
        self.routes_version = 0
        self._registry = Registry()
        self.services = self._registry.services
        self.replicas = self._registry.replicas
        self.on_change: list[Callable[[ServiceState], None]] = []
        """Called with a service whose held requests should be chosen again soon, first come first
        served. Not within the call, which may come from the middle of another decision."""

    # The route table

    def replace_table(self, table: RouteTable, now: float, unix_now: float = 0.0) -> None:
        """Follow this table; replicas that stay keep their counts."""
        self.routes_version = table.version
        for service in self._registry.replace_table(table, now - unix_now):
            service.refresh()
            self._changed(service)

    def find_service(self, host: bytes | None, path: bytes) -> ServiceMatch | None:
        """By the first label of the host, or else by the first segment of the path."""
        return self._registry.find_service(host, path)

    # One request

    def choose(
        self, service: ServiceState, facts: RequestFacts, tried: Collection[str], now: float
    ) -> Choice:
        """Where this request goes next; ``tried``: ids of the replicas that have failed it.

        The split is asked once a request, whatever happens to it afterwards, so that shares are
        exact; it is asked again only when the target that it gave cannot take the request.
        """
        if service.refusal is not None:
            return service.refusal
        is_retry = facts.has_begun or bool(tried)
        target = self._target_of(service, facts, is_retry, now)
        usable = target.usable
        if is_retry:
            usable = _untried(target, tried) or self._usable_elsewhere(service, facts, tried)
        if facts.digest is not None:
            suspect = facts.isolated = self._suspect_to_isolate(service, facts.digest, now)
            if suspect is not None:
                revision = usable[0].revision if usable else target.revision
                if suspect.is_refused(revision, now):
                    return _refusal_of(service, suspect, now)
                usable = _fit_for_isolation(usable) if suspect.may_be_sent(now) else []
        if not usable:
            starts_at = service.backoff_until
            if starts_at is not None and now < starts_at:
                wait_s = math.ceil(starts_at - now)
                return refusals.crash_backoff(service.name, target.revision, wait_s)
            return self._hold(service, facts, is_retry, target)
        limit = service.limits.max_concurrency
        if limit is not None and not self._has_turn(service, facts, is_retry, limit):
            return self._hold(service, facts, is_retry, target)
        if len(usable) == 1:
            return usable[0].chosen
        target = usable[0].target
        affine = target.affinity.find(facts.prefix_hashes) if facts.prefix_hashes else None
        if affine is not None and affine not in usable:
            affine = None
        target.turn += 1
        return pick(usable, affine, target.turn).chosen

    def begin(self, replica: Replica, facts: RequestFacts, now: float) -> None:
        """The request is about to be sent there."""
        target = replica.target
        if replica.num_outstanding == 0:
            replica.asked_at = now
        replica.num_outstanding += 1
        replica.num_requests_total += 1
        target.service.num_outstanding += 1
        facts.is_held = False
        facts.has_begun = True
        if facts.isolated is not None:
            replica.isolated = facts.isolated
            facts.isolated.is_isolated = True
        if facts.prefix_hashes:
            target.affinity.record(facts.prefix_hashes, replica)

    def end(self, replica: Replica, outcome: Outcome, now: float, ttft_s: float | None) -> None:
        """The attempt ended; ``ttft_s``: from the request's arrival to its answer's first byte."""
        if replica.num_outstanding == 0:
            raise RuntimeError(f"{replica} has no request under way that could end.")
        target = replica.target
        service = target.service
        replica.num_outstanding -= 1
        service.num_outstanding -= 1
        if ttft_s is not None:
            target.counts.ttft.observe(ttft_s)
        if outcome is Outcome.OK:
            if replica.health.succeeded() is Verdict.BACK:
                self._refresh(replica, Verdict.BACK)
        elif outcome is not Outcome.CLIENT_GONE:
            self._failed(replica, outcome, now)
        if not replica.is_routed:
            self._registry.forget_if_idle(replica)
            self._registry.forget_service_if_idle(service)
        if service.num_waiting and service.limits.max_concurrency is not None:
            self._changed(service)

    def lost(
        self, replica: Replica, facts: RequestFacts, sent_at: float, now: float, *, is_cut: bool
    ) -> None:
        """The attempt, which is to be ended after this, came to no good answer; ``is_cut``: to
        none at all. ``facts`` has the digest."""
        if facts.digest is None or not replica.is_routed:  # what leaves is stopped on purpose
            return
        is_isolated = facts.isolated is not None
        replica.losses.append(
            Loss(facts.digest, sent_at, now, is_cut=is_cut, is_isolated=is_isolated)
        )
        if is_cut:
            replica.cut_at = now
            replica.is_verdict_due = True

    def answered_well(self, replica: Replica, facts: RequestFacts) -> None:
        """The attempt, which is to be ended after this, came to a whole answer without an error;
        ``facts`` has the digest."""
        service = replica.target.service
        assert facts.digest is not None
        if service.quarantine.answered(facts.digest, replica.revision):
            self._changed(service)

    def end_isolation(self, replica: Replica, facts: RequestFacts) -> None:
        """The attempt has ended; another request may be isolated there."""
        suspect, facts.isolated = facts.isolated, None
        if suspect is not None:
            suspect.is_isolated = False
            replica.isolated = None
            self._changed(replica.target.service)

    def quarantine_refusal(
        self, service: ServiceState, facts: RequestFacts, revision: int, now: float
    ) -> Refused | None:
        """The refusal of a request that this revision's replicas are kept from."""
        if facts.digest is None:
            return None
        suspect = service.quarantine.find(facts.digest, now)
        if suspect is None or not suspect.is_refused(revision, now):
            return None
        return _refusal_of(service, suspect, now)

    def may_retry(self, service: ServiceState, now: float) -> bool:
        """Whether the budget has room for one more retry, which is then counted."""
        may = service.budget.take(now)
        if may:
            service.num_retries_total += 1
        return may

    def has_other_replica(self, service: ServiceState, tried: Collection[str]) -> bool:
        """Whether one can take a request now that has not failed it yet; ``tried``: their ids."""
        return any(_untried(target, tried) for target in service.targets)

    def is_hopeless(self, service: ServiceState, tried: Mapping[str, Replica]) -> bool:
        """Everyone who could take it has failed it, and yet is well: no replacement will come."""
        return not self.has_other_replica(service, tried) and all(
            replica.is_routed and replica.health.is_well for replica in tried.values()
        )

    def waiting(self, service: ServiceState, revision: int, change: int) -> None:
        """So many more requests, or fewer, are held in this revision's share."""
        counts = service.counts_of(revision)
        if counts.num_waiting + change < 0:
            raise RuntimeError(f"Fewer than no requests wait for {service.name}/{revision}.")
        counts.num_waiting += change
        service.num_waiting += change
        if change < 0 and not service.is_listed:
            self._registry.forget_service_if_idle(service)

    def answered(
        self, service: ServiceState, revision: int | None, status: int, added_s: float | None
    ) -> None:
        """The client got this; ``added_s``: how much longer than from the replica itself."""
        key = (revision, status)
        answers = service.answers
        answers[key] = answers.get(key, 0) + 1
        if revision is not None and added_s is not None:
            service.counts_of(revision).added_latency.observe(added_s)

    # Probes

    def replicas_to_probe(self, now: float) -> list[Replica]:
        """Those to ask now whether they are well; not named again until `probed` is called."""
        due = []
        for replica in self.replicas.values():
            health = replica.health
            is_due = replica.is_verdict_due and not health.is_probing
            if is_due or health.wants_probe(now, replica.silent_since):
                health.is_probing = True
                due.append(replica)
        return due

    def probed(self, replica: Replica, outcome: ProbeOutcome, now: float) -> Verdict:
        """A probe ended. Who is found dead has what is under way there given up by the caller,
        who then calls `conclude_probe` in any case."""
        if outcome is ProbeOutcome.WELL:
            replica.heard_at = now
        verdict = replica.health.probed(outcome, now)
        if verdict is not Verdict.SAME:
            self._refresh(replica, verdict)
        return verdict

    def conclude_probe(
        self, replica: Replica, outcome: ProbeOutcome, began_at: float, now: float
    ) -> None:
        """After a probe: whether the replica lives, and if not, what it may have died of."""
        service = replica.target.service
        if outcome is ProbeOutcome.UNWELL and not replica.is_ejected:
            return  # it is probed again at once
        if outcome is not ProbeOutcome.UNWELL:
            if began_at < replica.cut_at:
                return  # it lived before
            for loss in [loss for loss in replica.losses if loss.is_cut]:
                replica.losses.remove(loss)
        if outcome is ProbeOutcome.UNWELL and replica.num_outstanding == 0:
            losses = [loss for loss in replica.losses if now - loss.lost_at <= LOSS_WINDOW_S]
            replica.losses.clear()
            if losses:
                service.quarantine.forget_old(now)
                service.quarantine.record_death(losses, replica.revision)
        if replica.is_verdict_due:
            replica.is_verdict_due = False
            self._changed(service)
            if not replica.is_routed:
                self._registry.forget_if_idle(replica)
                self._registry.forget_service_if_idle(service)

    def stats(self, now: float) -> GatewayStats:
        return gateway_stats(
            self.services.values(),
            self.replicas.values(),
            routes_version=self.routes_version,
            uptime_s=now - self.started_at,
            now=now,
        )

    # Helpers

    def _suspect_to_isolate(
        self, service: ServiceState, digest: bytes, now: float
    ) -> Suspect | None:
        suspect = service.quarantine.find(digest, now)
        return suspect if suspect is not None and suspect.needs_isolation else None

    def _target_of(
        self, service: ServiceState, facts: RequestFacts, is_retry: bool, now: float
    ) -> TargetState:
        """The one that the split gave it before, while that holds; else a new draw."""
        target = facts.target
        if target is None or not target.is_listed or target.weight == 0:
            return self._draw(service, facts, now)
        if not (is_retry or target.is_open or service.split is None):
            return self._draw(service, facts, now)
        return target

    def _draw(self, service: ServiceState, facts: RequestFacts, now: float) -> TargetState:
        """Ask the split."""
        split = service.split or service.whole_split
        assert split is not None  # a service without targets refuses
        if facts.sticky_key is None:
            target = split.next()
        else:
            target = split.of_key(hash_of(facts.sticky_key))
        if facts.target is None:
            service.budget.add_request(now)
        facts.target = target
        target.counts.num_requests_total += 1
        target.counts.last_request_at = now
        return target

    def _usable_elsewhere(
        self, service: ServiceState, facts: RequestFacts, tried: Collection[str]
    ) -> list[Replica]:
        """Of another target, for a retry; it takes no turn from the requests of the first draw."""
        able = [t for t in service.targets if t.weight > 0 and _untried(t, tried)]
        if not able:
            return []
        split = service.split_over(able, is_retry=True)
        if facts.sticky_key is None:
            return _untried(split.next(), tried)
        return _untried(split.of_key(hash_of(facts.sticky_key)), tried)

    def _has_turn(
        self, service: ServiceState, facts: RequestFacts, is_retry: bool, limit: int
    ) -> bool:
        """Whether another request may be under way, and this is the one."""
        if service.num_outstanding >= limit:
            return False
        if service.num_waiting == 0 or facts.is_held or is_retry:
            return True
        # It comes last. Those before it may wait for other things, so let the line be asked.
        self._changed(service)
        return False

    def _hold(
        self,
        service: ServiceState,
        facts: RequestFacts,
        is_retry: bool,
        target: TargetState,
    ) -> Hold | Refused:
        # A request that already has its place, or has begun once, is not turned away any more.
        if not facts.is_held and not is_retry:
            max_queue = service.limits.max_queue
            if service.num_waiting >= max_queue:
                return refusals.queue_full(service.name, max_queue)
        facts.is_held = True
        return target.hold

    def _failed(self, replica: Replica, outcome: Outcome, now: float) -> None:
        replica.num_failures_total += 1
        if not replica.is_routed:
            return
        usable = replica.target.usable
        is_last = len(usable) == 1 and usable[0] is replica
        is_certain = outcome is Outcome.CONNECT_FAILED
        verdict = replica.health.failed(now, is_certain=is_certain, is_last=is_last)
        if verdict is not Verdict.SAME:
            self._refresh(replica, verdict)

    def _refresh(self, replica: Replica, verdict: Verdict) -> None:
        """It was ejected, or is back."""
        service = replica.target.service
        if verdict is not Verdict.BACK:
            service.num_ejections_total += 1
        service.refresh()
        if verdict is Verdict.BACK:
            self._changed(service)

    def _changed(self, service: ServiceState) -> None:
        for callback in self.on_change:
            callback(service)


def _refusal_of(service: ServiceState, suspect: Suspect, now: float) -> Refused:
    refused_s = math.ceil(suspect.refused_s(now))
    return refusals.request_kills_replicas(service.name, suspect.num_deaths, refused_s)


def _fit_for_isolation(replicas: Sequence[Replica]) -> list[Replica]:
    """Those of which it is known that they live, and where no request is isolated."""
    return [one for one in replicas if one.isolated is None and not one.is_verdict_due]


def _untried(target: TargetState, tried: Collection[str]) -> list[Replica]:
    return [replica for replica in target.usable if replica.replica_id not in tried]
