"""Every routing decision: which service a request is for, and which replica it goes to.

One request: `find_service`, `features_of`, then `choose`. A chosen replica's attempt is begun with
`begin` and ended with `end`, once each. A request on Hold is queued, and chosen for again when
``on_change`` says so. At last `count_response` counts what the client got. Nothing here does I/O,
awaits, or reads a clock; of HTTP it uses only the bytes of a path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

from headrace.core.gateway.routes import RouteTable
from headrace.gateway import errors
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.routing.balancer import pick
from headrace.gateway.routing.counters import TrafficCounts
from headrace.gateway.routing.decisions import Decision, Hold, Outcome, ServiceMatch
from headrace.gateway.routing.ejection import HealthChange, ProbeOutcome
from headrace.gateway.routing.quarantine import LOSS_WINDOW_S, Loss, Suspect
from headrace.gateway.routing.registry import Registry
from headrace.gateway.routing.request_features import RequestFeatures
from headrace.gateway.routing.split import hash_of
from headrace.gateway.routing.topology import ReplicaEndpoint, ServiceState, TargetState


class Router:
    """Applies one route table at a time; all methods are for one thread."""

    def __init__(self, now: float) -> None:
        self.started_at = now
        self.routes_version = 0
        self._registry = Registry()
        self.services = self._registry.services
        self.replicas = self._registry.replicas
        self.on_change: list[Callable[[ServiceState], None]] = []
        """Called with a service whose queued requests should be chosen for again soon, first come
        first served; not within the call, which may come from the middle of another decision."""

    # The route table

    def replace_table(self, table: RouteTable, now: float, unix_now: float = 0.0) -> None:
        """Apply this table; replicas that stay keep their counters."""
        self.routes_version = table.version
        for service in self._registry.replace_table(table, now - unix_now):
            service.refresh()
            self._changed(service)

    def find_service(self, host: bytes | None, path: bytes) -> ServiceMatch | None:
        """By the first label of the host, or else by the first segment of the path."""
        return self._registry.find_service(host, path)

    # One request

    def choose(
        self, service: ServiceState, features: RequestFeatures, tried: Collection[str], now: float
    ) -> Decision:
        """Where this request goes next; ``tried``: ids of the replicas that have failed it.

        The split is asked once a request, whatever happens to the request afterwards, so that
        shares are exact; it is asked again only when its target cannot take the request.
        """
        if service.unavailable is not None:
            return service.unavailable
        is_retry = features.has_begun or bool(tried)
        target = self._target_of(service, features, is_retry, now)
        usable = target.usable
        if is_retry:
            usable = target.untried(tried) or self._usable_elsewhere(service, features, tried)
        if features.digest is not None:
            suspect = features.isolated = self._suspect_to_isolate(service, features.digest, now)
            if suspect is not None:
                revision = usable[0].revision if usable else target.revision
                error = service.quarantine_error(features.digest, revision, now)
                if error is not None:
                    return error
                usable = _fit_for_isolation(usable) if suspect.may_be_sent(now) else []
        if not usable:
            starts_at = service.backoff_until
            if starts_at is not None and now < starts_at:
                wait_s = math.ceil(starts_at - now)
                return errors.crash_backoff(service.name, target.revision, wait_s)
            return self._hold(service, features, is_retry, target)
        limit = service.limits.max_concurrency
        if limit is not None and not self._has_turn(service, features, is_retry, limit):
            return self._hold(service, features, is_retry, target)
        if len(usable) == 1:
            return usable[0]
        target = usable[0].target
        hashes = features.prefix_hashes
        cache_hit = target.affinity.find(hashes) if hashes else None
        if cache_hit is not None and cache_hit not in usable:
            cache_hit = None
        target.turn += 1
        return pick(usable, cache_hit, target.turn)

    def begin(self, replica: ReplicaEndpoint, features: RequestFeatures, now: float) -> None:
        """The request is about to be sent to this replica."""
        target = replica.target
        if replica.num_outstanding == 0:
            replica.busy_since = now
        replica.num_outstanding += 1
        replica.num_requests_total += 1
        target.service.num_outstanding += 1
        features.is_held = False
        features.has_begun = True
        if features.isolated is not None:
            replica.isolated = features.isolated
            features.isolated.is_isolated = True
        if features.prefix_hashes:
            target.affinity.record(features.prefix_hashes, replica)

    def end(
        self, replica: ReplicaEndpoint, outcome: Outcome, now: float, ttft_s: float | None
    ) -> None:
        """The attempt ended; ``ttft_s``: from the request's arrival to its response's first byte.

        Raises RuntimeError if none is in flight there.
        """
        if replica.num_outstanding == 0:
            raise RuntimeError(f"{replica} has no request that could end.")
        target = replica.target
        service = target.service
        replica.num_outstanding -= 1
        service.num_outstanding -= 1
        if ttft_s is not None:
            target.counts.ttft.observe(ttft_s)
        if outcome is Outcome.OK:
            if replica.health.succeeded() is HealthChange.RESTORED:
                self._refresh(replica, HealthChange.RESTORED)
        elif outcome is not Outcome.CLIENT_DISCONNECTED:
            self._failed(replica, outcome, now)
        if not replica.is_routed:
            self._registry.remove_if_idle(replica)
            self._registry.remove_service_if_idle(service)
        if service.num_waiting and service.limits.max_concurrency is not None:
            self._changed(service)

    def record_loss(
        self,
        replica: ReplicaEndpoint,
        features: RequestFeatures,
        sent_at: float,
        now: float,
        *,
        is_cut: bool,
    ) -> None:
        """Before `end`: the attempt had no good response; ``is_cut``: not a complete one.
        ``features`` has the digest."""
        if features.digest is None or not replica.is_routed:  # one that left is stopped on purpose
            return
        is_isolated = features.isolated is not None
        replica.losses.append(
            Loss(features.digest, sent_at, now, is_cut=is_cut, is_isolated=is_isolated)
        )
        if is_cut:
            replica.cut_at = now
            replica.needs_probe = True

    def record_success(self, replica: ReplicaEndpoint, features: RequestFeatures) -> None:
        """Before `end`: the response is complete and no error; ``features`` has the digest."""
        service = replica.target.service
        assert features.digest is not None
        if service.quarantine.succeeded(features.digest, replica.revision):
            self._changed(service)

    def end_isolation(self, replica: ReplicaEndpoint, features: RequestFeatures) -> None:
        """The attempt has ended; another request may be isolated at this replica."""
        suspect, features.isolated = features.isolated, None
        if suspect is not None:
            suspect.is_isolated = False
            replica.isolated = None
            self._changed(replica.target.service)

    def count_waiting(self, service: ServiceState, revision: int, change: int) -> None:
        """``change`` more requests are queued for this revision. Raises RuntimeError below 0."""
        counts = service.counts_of(revision)
        if counts.num_waiting + change < 0:
            raise RuntimeError(f"Negative number of requests queued for {service.name}/{revision}.")
        counts.num_waiting += change
        service.num_waiting += change
        if change < 0 and not service.is_listed:
            self._registry.remove_service_if_idle(service)

    def count_response(
        self,
        service: ServiceState,
        revision: int | None,
        status: int,
        added_s: float | None,
        key: str = "",
        model: str = "",
    ) -> TrafficCounts:
        """The client got this; ``added_s``: the latency that the gateway added. Returns the
        counters for what else is known of the request."""
        traffic = service.traffic.get((revision, key, model))
        if traffic is None:
            traffic = service.traffic_of(revision, key, model)
        responses = traffic.responses
        responses[status] = responses.get(status, 0) + 1
        if revision is not None and added_s is not None:
            service.counts_of(revision).added_latency.observe(added_s)
        return traffic

    # Probes

    def replicas_to_probe(self, now: float) -> list[ReplicaEndpoint]:
        """Those to probe now; not returned again until `probed` is called."""
        due = []
        for replica in self.replicas.values():
            health = replica.health
            is_due = replica.needs_probe and not health.is_probing
            if is_due or health.needs_probe(now, replica.waiting_since):
                health.is_probing = True
                due.append(replica)
        return due

    def probed(self, replica: ReplicaEndpoint, outcome: ProbeOutcome, now: float) -> HealthChange:
        """A probe ended. If the replica is DEAD, the caller aborts its requests; then the caller
        calls `conclude_probe` in any case."""
        if outcome is ProbeOutcome.HEALTHY:
            replica.last_received_at = now
        change = replica.health.probed(outcome, now)
        if change is not HealthChange.NONE:
            self._refresh(replica, change)
        return change

    def conclude_probe(
        self, replica: ReplicaEndpoint, outcome: ProbeOutcome, began_at: float, now: float
    ) -> None:
        """After a probe: if the replica is dead, its losses may have caused that."""
        service = replica.target.service
        if outcome is ProbeOutcome.UNHEALTHY and not replica.is_ejected:
            return  # it is probed again at once
        if outcome is not ProbeOutcome.UNHEALTHY:
            if began_at < replica.cut_at:
                return  # the probe says nothing about the time after the cut
            for loss in [loss for loss in replica.losses if loss.is_cut]:
                replica.losses.remove(loss)
        if outcome is ProbeOutcome.UNHEALTHY and replica.num_outstanding == 0:
            losses = [loss for loss in replica.losses if now - loss.lost_at <= LOSS_WINDOW_S]
            replica.losses.clear()
            if losses:
                service.quarantine.remove_expired(now)
                service.quarantine.record_death(losses, replica.revision)
        if replica.needs_probe:
            replica.needs_probe = False
            self._changed(service)
            if not replica.is_routed:
                self._registry.remove_if_idle(replica)
                self._registry.remove_service_if_idle(service)

    # Helpers

    def _suspect_to_isolate(
        self, service: ServiceState, digest: bytes, now: float
    ) -> Suspect | None:
        suspect = service.quarantine.find(digest, now)
        return suspect if suspect is not None and suspect.needs_isolation else None

    def _target_of(
        self, service: ServiceState, features: RequestFeatures, is_retry: bool, now: float
    ) -> TargetState:
        """The target of the request's first draw, while that is valid; else of a new one."""
        target = features.target
        if target is None or not target.is_listed or target.weight == 0:
            return self._draw(service, features, now)
        if not (is_retry or target.is_open or service.split is None):
            return self._draw(service, features, now)
        return target

    def _draw(self, service: ServiceState, features: RequestFeatures, now: float) -> TargetState:
        split = service.split or service.full_split
        assert split is not None, "a service without targets is unavailable"
        if features.sticky_key is None:
            target = split.next()
        else:
            target = split.of_key(hash_of(features.sticky_key))
        if features.target is None:
            service.budget.add_request(now)
        features.target = target
        target.counts.num_requests_total += 1
        target.counts.last_request_at = now
        return target

    def _usable_elsewhere(
        self, service: ServiceState, features: RequestFeatures, tried: Collection[str]
    ) -> list[ReplicaEndpoint]:
        """Of another target, for a retry; it has a split of its own, so that first draws stay
        exact."""
        able = [t for t in service.targets if t.weight > 0 and t.untried(tried)]
        if not able:
            return []
        split = service.split_over(able, is_retry=True)
        if features.sticky_key is None:
            return split.next().untried(tried)
        return split.of_key(hash_of(features.sticky_key)).untried(tried)

    def _has_turn(
        self, service: ServiceState, features: RequestFeatures, is_retry: bool, limit: int
    ) -> bool:
        """Whether one more request may be in flight, and this request is the next one."""
        if service.num_outstanding >= limit:
            return False
        if service.num_waiting == 0 or features.is_held or is_retry:
            return True
        # It is last in the queue. Those before it may wait for something else, so ask them again.
        self._changed(service)
        return False

    def _hold(
        self,
        service: ServiceState,
        features: RequestFeatures,
        is_retry: bool,
        target: TargetState,
    ) -> Hold | ErrorResponse:
        # A request that has its place in the queue, or is retried, is not rejected.
        if not features.is_held and not is_retry:
            max_queue = service.limits.max_queue
            if service.num_waiting >= max_queue:
                return errors.queue_full(service.name, max_queue)
        features.is_held = True
        return Hold(target.revision)

    def _failed(self, replica: ReplicaEndpoint, outcome: Outcome, now: float) -> None:
        replica.num_failures_total += 1
        if not replica.is_routed:
            return
        usable = replica.target.usable
        is_last = len(usable) == 1 and usable[0] is replica
        is_certain = outcome is Outcome.CONNECT_FAILED
        change = replica.health.failed(now, is_certain=is_certain, is_last=is_last)
        if change is not HealthChange.NONE:
            self._refresh(replica, change)

    def _refresh(self, replica: ReplicaEndpoint, change: HealthChange) -> None:
        """It was ejected or restored."""
        service = replica.target.service
        if change is not HealthChange.RESTORED:
            service.num_ejections_total += 1
        service.refresh()
        if change is HealthChange.RESTORED:
            self._changed(service)

    def _changed(self, service: ServiceState) -> None:
        for callback in self.on_change:
            callback(service)


def _fit_for_isolation(replicas: Sequence[ReplicaEndpoint]) -> list[ReplicaEndpoint]:
    """Those that are known to be alive, and have no isolated request."""
    return [one for one in replicas if one.isolated is None and not one.needs_probe]
