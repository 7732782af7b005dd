"""The router's decisions, one by one."""

import json
from collections import Counter

import pytest

from headrace.core.gateway.routes import Limits, Sticky, TargetRoute
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.reporting.stats import gateway_stats
from headrace.gateway.routing.decisions import Hold, Outcome
from headrace.gateway.routing.ejection import HealthChange, ProbeOutcome
from headrace.gateway.routing.request_features import RequestFeatures, features_of
from headrace.gateway.routing.retries import take_from_budget
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ReplicaEndpoint, ServiceState
from headrace.testing.route_tables import replica_route, route_table, service_route, target_route


def router_for(*services, version=1) -> Router:
    router = Router(0.0)
    router.replace_table(route_table(*services, version=version), 0.0)
    return router


def only_service(router: Router) -> ServiceState:
    return router.services["openllm"]


def features(key: bytes | None = None) -> RequestFeatures:
    return RequestFeatures(key, ())


def begin_one(router: Router, tried=(), of: RequestFeatures | None = None, now=0.0):
    """Choose a replica and begin the request; returns the replica."""
    of = of or features()
    choice = router.choose(only_service(router), of, tried, now)
    assert isinstance(choice, ReplicaEndpoint)
    router.begin(choice, of, now)
    return choice


class TestFindService:
    @pytest.mark.parametrize(
        ("host", "path", "upstream_path", "prefix"),
        [
            (b"openllm.localhost:8080", b"/v1/models", b"/v1/models", b""),
            (b"OpenLLM.example.org", b"/v1/models?x=1", b"/v1/models?x=1", b""),
            (b"openllm", b"/", b"/", b""),
            (b"openllm:8080", b"/openllm/v1", b"/openllm/v1", b""),
            (b"localhost:8080", b"/openllm/v1/models?x=/1", b"/v1/models?x=/1", b"/openllm"),
            (b"localhost", b"/openllm", b"/", b"/openllm"),
            (b"localhost", b"/openllm/", b"/", b"/openllm"),
            (b"localhost", b"/openllm?x=1", b"/?x=1", b"/openllm"),
            (b"127.0.0.1:8080", b"/OPENLLM/health", b"/health", b"/OPENLLM"),
            (b"[::1]:8080", b"/openllm/health", b"/health", b"/openllm"),
            (None, b"/openllm/health", b"/health", b"/openllm"),
        ],
    )
    def test_services_are_matched_by_host_or_by_path(self, host, path, upstream_path, prefix):
        router = router_for(service_route(target_route(1, 100, (1,))))
        match = router.find_service(host, path)
        assert match is not None
        assert match.service is only_service(router)
        assert match.path == upstream_path
        assert match.prefix == prefix

    @pytest.mark.parametrize(
        ("host", "path"),
        [
            (b"localhost:8080", b"/v1/models"),
            (b"localhost", b"/"),
            (b"localhost", b""),
            (b"localhost", b"*"),
            (b"localhost", b"/openllm2/v1"),
            (b"localhost", b"//openllm/v1"),
            (b"localhost", b"/?openllm/"),
            (b"www.openllm.org", b"/v1"),
            (b"\xff\xfe", b"/\xff"),
            (None, b"/v1/models"),
        ],
    )
    def test_unmatched_requests_have_no_service(self, host, path):
        router = router_for(service_route(target_route(1, 100, (1,))))
        assert router.find_service(host, path) is None

    def test_an_ip_address_matches_no_service(self):
        router = router_for(service_route(name="127"), service_route(name="openllm"))
        match = router.find_service(b"127.0.0.1:8080", b"/openllm/v1")
        assert match is not None
        assert match.service.name == "openllm"

    def test_a_deleted_service_is_unknown(self):
        router = router_for(service_route())
        router.replace_table(route_table(version=2), 1.0)
        assert router.find_service(b"openllm.localhost", b"/") is None
        assert router.services == {}


class TestRefusals:
    def test_disabled_and_empty_services_refuse_requests(self):
        router = router_for(service_route(target_route(1, 100, (1,)), is_enabled=False))
        choice = router.choose(only_service(router), features(), (), 0.0)
        assert isinstance(choice, ErrorResponse)
        assert (choice.status, choice.code) == (503, "service_disabled")
        router = router_for(service_route())
        choice = router.choose(only_service(router), features(), (), 0.0)
        assert isinstance(choice, ErrorResponse)
        assert (choice.status, choice.code) == (503, "no_targets")

    def test_targets_of_weight_zero_are_ignored(self):
        router = router_for(service_route(target_route(1, 0, (1,))))
        assert isinstance(router.choose(only_service(router), features(), (), 0.0), ErrorResponse)

    def test_a_queued_request_is_refused_when_its_service_is_removed(self):
        router = router_for(service_route(target_route(1, 100)))
        service, waits = only_service(router), features()
        assert router.choose(service, waits, (), 0.0) == Hold(1)
        router.count_waiting(service, 1, +1)
        router.replace_table(route_table(version=2), 1.0)
        choice = router.choose(service, waits, (), 1.0)
        assert isinstance(choice, ErrorResponse)
        assert choice.code == "service_gone"
        router.count_waiting(service, 1, -1)
        assert router.services == {}

    def test_a_full_queue_refuses_new_requests_but_no_queued_one(self):
        limits = Limits(max_queue=2)
        router = router_for(service_route(target_route(1, 100), limits=limits))
        service = only_service(router)
        held = [features(), features()]
        for request in held:
            assert router.choose(service, request, (), 0.0) == Hold(1)
            router.count_waiting(service, 1, +1)
        choice = router.choose(service, features(), (), 0.0)
        assert isinstance(choice, ErrorResponse)
        assert (choice.status, choice.retry_after_s) == (429, 1)
        assert router.choose(service, held[0], (), 0.0) == Hold(1)
        assert router.choose(service, features(), ("r9",), 0.0) == Hold(1)

    def test_a_full_queue_refuses_no_retry(self):
        router = router_for(service_route(target_route(1, 100, (1,)), limits=Limits(max_queue=0)))
        request = features()
        router.end(begin_one(router, of=request), Outcome.CONNECT_FAILED, 0.0, None)
        assert router.choose(only_service(router), request, (), 0.0) == Hold(1)
        assert isinstance(router.choose(only_service(router), features(), (), 0.0), ErrorResponse)


class TestCrashBackoff:
    """Requests do not wait for a revision in a crash loop until it is restarted."""

    UNIX_NOW = 1_700_000_000.0

    def router(self, *targets, now=100.0) -> Router:
        router = Router(now)
        router.replace_table(route_table(service_route(*targets)), now, self.UNIX_NOW)
        return router

    def test_requests_are_refused_at_once_with_the_remaining_time(self):
        router = self.router(target_route(1, 100, crash_backoff_until=self.UNIX_NOW + 41.5))
        choice = router.choose(only_service(router), features(), (), 110.0)
        assert isinstance(choice, ErrorResponse)
        assert (choice.status, choice.code, choice.retry_after_s) == (503, "crash_backoff", 32)

    def test_requests_wait_once_the_revision_is_started(self):
        router = self.router(target_route(1, 100, crash_backoff_until=self.UNIX_NOW + 5))
        assert router.choose(only_service(router), features(), (), 105.0) == Hold(1)

    def test_queued_requests_are_refused_too(self):
        router = self.router(target_route(1, 100))
        service, waits = only_service(router), features()
        assert router.choose(service, waits, (), 100.0) == Hold(1)
        route = service_route(target_route(1, 100, crash_backoff_until=self.UNIX_NOW + 9))
        router.replace_table(route_table(route, version=2), 101.0, self.UNIX_NOW)
        assert isinstance(router.choose(service, waits, (), 101.0), ErrorResponse)

    @pytest.mark.parametrize("tried", [(), ("r9",)])
    def test_requests_go_to_another_revision(self, tried):
        router = self.router(
            target_route(1, 50, crash_backoff_until=self.UNIX_NOW + 9, scales_from_zero=True),
            target_route(2, 50, (2,)),
        )
        for _ in range(10):
            choice = router.choose(only_service(router), features(), tried, 100.0)
            assert isinstance(choice, ReplicaEndpoint)
            assert choice.revision == 2

    def test_requests_wait_while_another_revision_may_start(self):
        router = self.router(
            target_route(1, 50, crash_backoff_until=self.UNIX_NOW + 9),
            target_route(2, 50),
            target_route(3, 0, crash_backoff_until=self.UNIX_NOW + 9),
        )
        for _ in range(4):
            choice = router.choose(only_service(router), features(), (), 100.0)
            assert isinstance(choice, Hold)

    def test_the_earliest_start_is_used(self):
        router = self.router(
            target_route(1, 50, crash_backoff_until=self.UNIX_NOW + 9),
            target_route(2, 50, crash_backoff_until=self.UNIX_NOW + 5),
        )
        for _ in range(4):
            choice = router.choose(only_service(router), features(), (), 100.0)
            assert isinstance(choice, ErrorResponse)
            assert choice.retry_after_s == 5


class TestQuarantine:
    """A request that crashes replicas is quarantined; other requests are not."""

    def router(self, *numbers: int) -> Router:
        return router_for(service_route(target_route(1, 100, numbers)))

    def suspect(self, digest: bytes = b"x") -> RequestFeatures:
        made = features()
        made.digest = digest
        return made

    def lose(self, router: Router, request: RequestFeatures, now: float) -> None:
        """Send it, lose it, and detect that its replica is dead."""
        replica = begin_one(router, of=request, now=now)
        router.record_loss(replica, request, now, now + 0.1, is_cut=True)
        router.end(replica, Outcome.CUT, now + 0.1, None)
        if request.isolated is not None:
            router.end_isolation(replica, request)
        for _ in range(2):
            assert replica in router.replicas_to_probe(now + 0.1)
            router.probed(replica, ProbeOutcome.UNHEALTHY, now + 0.1)
            router.conclude_probe(replica, ProbeOutcome.UNHEALTHY, now + 0.1, now + 0.1)
        assert not replica.needs_probe

    def test_a_request_is_refused_after_three_deaths(self):
        router = self.router(1, 2, 3, 4)
        for turn in range(3):
            self.lose(router, self.suspect(), 2 * turn)
        choice = router.choose(only_service(router), self.suspect(), (), 5.0)
        assert isinstance(choice, ErrorResponse)
        assert (choice.status, choice.code) == (422, "request_kills_replicas")
        assert "3 replicas" in choice.message
        blocked = choice
        assert isinstance(
            router.choose(only_service(router), self.suspect(b"y"), (), 5.0), ReplicaEndpoint
        )
        choice = router.choose(only_service(router), features(), (), 5.0)
        assert isinstance(choice, ReplicaEndpoint)
        digest = self.suspect().digest
        assert digest is not None
        assert only_service(router).quarantine_error(digest, 1, 5.0) == blocked
        [reported] = gateway_stats(router, 5.0).quarantined
        assert (reported.service, reported.revisions, reported.num_replicas) == ("openllm", (1,), 3)
        assert reported.digest == b"x".hex()

    def test_one_isolated_copy_per_replica_at_a_time(self):
        router = self.router(1, 2, 3, 4)
        service = only_service(router)
        for turn in range(2):
            one, other = self.suspect(b"x"), self.suspect(b"y")
            replica = begin_one(router, of=one, now=turn)
            router.begin(replica, other, turn)
            for request in (one, other):
                router.record_loss(replica, request, turn, turn + 0.1, is_cut=True)
                router.end(replica, Outcome.CUT, turn + 0.1, None)
            for _ in range(2):
                router.replicas_to_probe(turn + 0.1)
                router.probed(replica, ProbeOutcome.UNHEALTHY, turn + 0.1)
                router.conclude_probe(replica, ProbeOutcome.UNHEALTHY, turn + 0.1, turn + 0.1)
        first, copy, other = (self.suspect(digest) for digest in (b"x", b"x", b"y"))
        assert isinstance(router.choose(service, first, (), 1.5), Hold)  # not yet
        at = begin_one(router, of=first, now=3.0)
        assert isinstance(router.choose(service, copy, (), 3.0), Hold)
        beside = begin_one(router, of=other, now=3.0)
        assert beside is not at
        for _ in range(4):  # other requests go anywhere
            begin_one(router, of=self.suspect(b"z"), now=3.0)
        woken = []
        router.on_change.append(woken.append)
        router.record_success(at, first)
        router.end(at, Outcome.OK, 3.1, None)
        router.end_isolation(at, first)
        assert woken
        choice = router.choose(service, copy, (), 3.1)
        assert isinstance(choice, ReplicaEndpoint)
        assert copy.isolated is None  # it was cleared

    def test_a_possibly_dying_replica_gets_no_isolated_request(self):
        router = self.router(1, 2, 3)
        for turn in range(2):
            self.lose(router, self.suspect(), 2 * turn)
        [last] = only_service(router).targets[0].usable
        other = self.suspect(b"y")
        router.begin(last, other, 5.0)
        router.record_loss(last, other, 5.0, 5.1, is_cut=True)
        router.end(last, Outcome.CUT, 5.1, None)
        assert isinstance(router.choose(only_service(router), self.suspect(), (), 5.2), Hold)
        router.replicas_to_probe(5.2)
        router.probed(last, ProbeOutcome.HEALTHY, 5.2)
        router.conclude_probe(
            last, ProbeOutcome.HEALTHY, 5.0, 5.2
        )  # the probe began before the cut
        assert isinstance(router.choose(only_service(router), self.suspect(), (), 5.2), Hold)
        router.replicas_to_probe(5.3)
        router.probed(last, ProbeOutcome.HEALTHY, 5.3)
        router.conclude_probe(last, ProbeOutcome.HEALTHY, 5.3, 5.3)
        assert isinstance(
            router.choose(only_service(router), self.suspect(), (), 5.3), ReplicaEndpoint
        )

    def test_losses_on_a_live_replica_make_no_suspect(self):
        router = self.router(1, 2)
        for turn in range(6):
            request = self.suspect()
            replica = begin_one(router, of=request, now=turn)
            router.record_loss(replica, request, turn, turn + 0.1, is_cut=True)
            router.end(replica, Outcome.CUT, turn + 0.1, None)
            assert replica.needs_probe
            assert replica in router.replicas_to_probe(turn + 0.1)
            router.probed(replica, ProbeOutcome.HEALTHY, turn + 0.1)
            router.conclude_probe(replica, ProbeOutcome.HEALTHY, turn + 0.1, turn + 0.1)
            assert not replica.needs_probe
        assert len(only_service(router).quarantine.suspects) == 0

    def test_a_removed_replica_with_a_loss_is_tracked_until_its_death_is_confirmed(self):
        """The control plane may be faster than a probe."""
        router = self.router(1, 2)
        request = self.suspect()
        replica = begin_one(router, of=request)
        router.record_loss(replica, request, 0.0, 0.1, is_cut=False)  # it responded with an error
        router.end(replica, Outcome.OK, 0.1, None)
        left = {1: 2, 2: 1}[int(replica.replica_id[1:])]
        router.replace_table(
            route_table(service_route(target_route(1, 100, (left,))), version=2), 0.2
        )
        for _ in range(2):
            assert router.replicas_to_probe(0.2) == [replica]
            router.probed(replica, ProbeOutcome.UNHEALTHY, 0.2)
            router.conclude_probe(replica, ProbeOutcome.UNHEALTHY, 0.2, 0.2)
        assert replica not in router.replicas.values()
        assert only_service(router).quarantine.find(b"x", 0.3) is not None

    def test_losses_on_a_stopping_replica_make_no_suspect(self):
        router = self.router(1, 2)
        request = self.suspect()
        replica = begin_one(router, of=request)
        router.replace_table(route_table(service_route(target_route(1, 100)), version=2), 0.1)
        router.record_loss(replica, request, 0.0, 0.2, is_cut=True)
        router.end(replica, Outcome.CUT, 0.2, None)
        assert not router.replicas
        assert len(only_service(router).quarantine.suspects) == 0

    def test_an_unresponsive_replica_is_not_dead(self):
        router = self.router(1, 2)
        request = self.suspect()
        replica = begin_one(router, of=request)
        router.record_loss(replica, request, 0.0, 0.1, is_cut=True)
        router.end(replica, Outcome.CUT, 0.1, None)
        router.replicas_to_probe(0.1)
        router.probed(replica, ProbeOutcome.UNRESPONSIVE, 2.1)
        router.conclude_probe(replica, ProbeOutcome.UNRESPONSIVE, 2.1, 2.1)
        assert not replica.needs_probe
        assert len(only_service(router).quarantine.suspects) == 0


class TestSplit:
    def test_traffic_is_split_ninety_to_ten(self):
        router = router_for(service_route(target_route(1, 90, (1,)), target_route(2, 10, (2,))))
        ids = Counter()
        for _ in range(1000):
            replica = begin_one(router)
            ids[replica.replica_id] += 1
            router.end(replica, Outcome.OK, 0.0, 0.1)
        assert ids == {"r1": 900, "r2": 100}

    def test_a_new_table_with_the_same_weights_continues_the_split(self):
        def route(num_replicas):
            replicas = tuple(range(num_replicas))
            return service_route(target_route(1, 50, replicas), target_route(2, 50, (9,)))

        router = router_for(route(1))
        revisions = []
        for version in range(20):
            router.replace_table(route_table(route(1 + version % 3), version=version), 0.0)
            revisions.append(begin_one(router).revision)
        assert Counter(revisions) == {1: 10, 2: 10}

    def test_new_weights_apply_from_the_next_request(self):
        router = router_for(service_route(target_route(1, 50, (1,)), target_route(2, 50, (2,))))
        begin_one(router)
        changed = service_route(target_route(1, 90, (1,)), target_route(2, 10, (2,)))
        router.replace_table(route_table(changed, version=2), 0.0)
        assert Counter(begin_one(router).revision for _ in range(20)) == {1: 18, 2: 2}

    def test_the_share_of_a_target_without_replicas_goes_to_the_others(self):
        router = router_for(
            service_route(target_route(1, 50), target_route(2, 30, (2,)), target_route(3, 20, (3,)))
        )
        revisions = Counter(begin_one(router).revision for _ in range(50))
        assert revisions == {2: 30, 3: 20}

    def test_the_share_of_a_target_that_scales_from_zero_waits(self):
        router = router_for(
            service_route(target_route(1, 50, scales_from_zero=True), target_route(2, 50, (2,)))
        )
        service = only_service(router)
        requests = [features() for _ in range(10)]
        choices = [router.choose(service, request, (), 0.0) for request in requests]
        assert choices.count(Hold(1)) == 5
        held = [r for r, choice in zip(requests, choices, strict=True) if choice == Hold(1)]
        ready = service_route(
            target_route(1, 50, (1,), scales_from_zero=True), target_route(2, 50, (2,))
        )
        router.replace_table(route_table(ready, version=2), 1.0)
        assert {begin_one(router, of=request).revision for request in held} == {1}

    def test_a_held_request_is_rerouted_when_its_target_is_removed(self):
        router = router_for(service_route(target_route(1, 100, scales_from_zero=True)))
        request = features()
        assert router.choose(only_service(router), request, (), 0.0) == Hold(1)
        router.replace_table(route_table(service_route(target_route(2, 100, (2,)))), 1.0)
        assert begin_one(router, of=request).revision == 2

    def test_choosing_again_does_not_advance_the_split(self):
        router = router_for(
            service_route(target_route(1, 50, scales_from_zero=True), target_route(2, 50, (2,)))
        )
        service, held = only_service(router), features()
        assert router.choose(service, held, (), 0.0) == Hold(1)
        for number in range(10):
            assert router.choose(service, held, (), 0.0) == Hold(1)
            choice = router.choose(service, features(), (), 0.0)
            assert (choice == Hold(1)) is (number % 2 == 1)


class TestSticky:
    ROUTE = (target_route(1, 50, (1,)), target_route(2, 30, (2,)), target_route(3, 20, (3,)))
    KEYS = tuple(b"user-%d" % number for number in range(200))

    def revisions(self, router):
        return [begin_one(router, of=features(key)).revision for key in self.KEYS]

    def test_keys_stay_on_their_target_while_the_table_is_unchanged(self):
        router = router_for(service_route(*self.ROUTE, sticky=Sticky(header="x")))
        before = self.revisions(router)
        assert set(before) == {1, 2, 3}
        assert self.revisions(router) == before
        assert self.revisions(router_for(service_route(*reversed(self.ROUTE)))) == before

    def test_keys_return_to_a_restored_target(self):
        router = router_for(service_route(*self.ROUTE))
        before = self.revisions(router)
        gone = next(r for r in router.replicas.values() if r.revision == 2)
        router.end(gone, Outcome.CONNECT_FAILED, 0.0, None)
        meanwhile = self.revisions(router)
        for was, now in zip(before, meanwhile, strict=True):
            assert now != 2
            assert was in (now, 2)
        router.probed(gone, ProbeOutcome.HEALTHY, 1.0)
        assert self.revisions(router) == before


class TestRetries:
    def test_retries_prefer_the_same_revision_then_others_then_wait(self):
        router = router_for(service_route(target_route(1, 100, (1, 2)), target_route(2, 0, (8,))))
        request = features()
        first = begin_one(router, of=request)
        router.end(first, Outcome.CONNECT_FAILED, 0.0, None)
        second = begin_one(router, tried=(first.replica_id,), of=request)
        assert {first.replica_id, second.replica_id} == {"r1", "r2"}
        router.end(second, Outcome.CUT, 0.0, None)
        tried = (first.replica_id, second.replica_id)
        # Revision 2 has no weight: it gets no retries either.
        assert router.choose(only_service(router), request, tried, 0.0) == Hold(1)

    def test_retries_go_to_another_target_when_the_revision_has_no_replica(self):
        router = router_for(service_route(target_route(1, 50, (1,)), target_route(2, 50, (2,))))
        request = features()
        first = begin_one(router, of=request)
        router.end(first, Outcome.CUT, 0.0, None)
        second = begin_one(router, tried=(first.replica_id,), of=request)
        assert second.revision != first.revision

    def test_a_held_retry_goes_to_the_replacement_replica(self):
        router = router_for(service_route(target_route(1, 100, (1,))))
        request = features()
        first = begin_one(router, of=request)
        router.end(first, Outcome.CUT, 0.0, None)
        tried = {first.replica_id}
        assert router.choose(only_service(router), request, tried, 0.0) == Hold(1)
        router.replace_table(route_table(service_route(target_route(1, 100, (2,)))), 1.0)
        assert begin_one(router, tried, of=request).replica_id == "r2"

    def test_retries_do_not_advance_the_split(self):
        router = router_for(service_route(target_route(1, 50, (1,)), target_route(2, 50, (2,))))
        revisions = Counter()
        for _ in range(100):
            request = features()
            replica = begin_one(router, of=request)
            revisions[replica.revision] += 1
            retried = begin_one(router, (replica.replica_id,), of=request)
            assert retried.revision != replica.revision
        assert revisions == {1: 50, 2: 50}

    def test_retries_do_not_advance_the_split_of_an_ejected_targets_share(self):
        router = router_for(
            service_route(
                target_route(1, 50, (1,)), target_route(2, 25, (2,)), target_route(3, 25, (3,))
            )
        )
        failed = features()
        replica = begin_one(router, of=failed)
        assert replica.revision == 1
        router.end(replica, Outcome.CONNECT_FAILED, 0.0, None)
        revisions = []
        for number in range(10):
            revisions.append(begin_one(router).revision)
            tried = ("r1",) if number % 2 else ()
            assert isinstance(
                router.choose(only_service(router), failed, tried, 0.0), ReplicaEndpoint
            )
        assert revisions == [2, 3] * 5

    def test_the_retry_budget_counts_a_request_once(self):
        router = router_for(service_route(target_route(1, 100, (1, 2))))
        service = only_service(router)
        for _ in range(100):
            request = features()
            begin_one(router, of=request, now=50.0)
            begin_one(router, ("r1",), of=request, now=50.0)
        assert sum(take_from_budget(service, 50.0) for _ in range(500)) == 100 + 20


class TestBalance:
    def test_a_conversation_returns_to_its_replica(self):
        router = router_for(service_route(target_route(1, 100, (1, 2, 3))))
        service = only_service(router)

        def send_one(text):
            body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
            request = features_of(service, None, body)
            replica = begin_one(router, of=request)
            router.end(replica, Outcome.OK, 0.0, 0.1)
            return replica.replica_id

        stories = [f"Story number {number}. " * 40 for number in range(9)]
        first = [send_one(story) for story in stories]
        assert Counter(first) == {"r1": 3, "r2": 3, "r3": 3}
        again = [send_one(story + "And then? " * 40) for story in stories]
        assert again == first

    def test_affinity_never_selects_an_ejected_tried_or_removed_replica(self):
        router = router_for(service_route(target_route(1, 100, (1, 2, 3, 4))))
        known = (1, 2, 3)

        def send_one(tried=()):
            return begin_one(router, tried, of=RequestFeatures(None, known))

        first = send_one()
        assert send_one() is first
        assert send_one(tried=(first.replica_id,)) is not first
        second = send_one()
        router.end(second, Outcome.CONNECT_FAILED, 0.0, None)
        third = send_one()
        assert third is not second
        left = tuple({1, 2, 3, 4} - {int(third.replica_id[1:])})
        router.replace_table(route_table(service_route(target_route(1, 100, left))), 1.0)
        assert send_one() is not third

    def test_requests_beyond_max_concurrency_are_queued(self):
        limits = Limits(max_concurrency=2)
        router = router_for(service_route(target_route(1, 100, (1, 2)), limits=limits))
        service = only_service(router)
        first, second = begin_one(router), begin_one(router)
        woken = []
        router.on_change.append(woken.append)
        third = features()
        assert router.choose(service, third, (), 0.0) == Hold(1)
        router.count_waiting(service, 1, +1)
        router.end(first, Outcome.CLIENT_DISCONNECTED, 0.0, None)
        assert woken == [service]
        router.count_waiting(service, 1, -1)
        begin_one(router, of=third)
        router.end(second, Outcome.OK, 0.0, 0.1)
        assert woken == [service]  # no request waits, so no callback

    def test_new_requests_do_not_overtake_queued_ones(self):
        route = service_route(target_route(1, 100, (1,)), limits=Limits(max_concurrency=1))
        router = router_for(route)
        service = only_service(router)
        running, waits, newcomer = begin_one(router), features(), features()
        assert router.choose(service, waits, (), 0.0) == Hold(1)
        router.count_waiting(service, 1, +1)
        router.end(running, Outcome.OK, 0.0, 0.1)
        woken = []
        router.on_change.append(woken.append)
        assert router.choose(service, newcomer, (), 0.0) == Hold(1)
        assert woken == [service]
        router.count_waiting(service, 1, +1)
        running = begin_one(router, of=waits)
        router.count_waiting(service, 1, -1)
        router.end(running, Outcome.OK, 0.0, 0.1)
        begin_one(router, of=newcomer)

    def test_without_a_limit_the_end_of_a_request_wakes_no_queue(self):
        router = router_for(
            service_route(target_route(1, 50, (1,)), target_route(2, 50, scales_from_zero=True))
        )
        service = only_service(router)
        running = begin_one(router)
        assert router.choose(service, features(), (), 0.0) == Hold(2)
        router.count_waiting(service, 2, +1)
        woken = []
        router.on_change.append(woken.append)
        router.end(running, Outcome.OK, 0.0, 0.1)
        assert woken == []


class TestHealth:
    def test_requests_wait_while_all_replicas_are_ejected(self):
        router = router_for(service_route(target_route(1, 100, (1, 2))))
        service = only_service(router)
        for _ in range(2):
            router.end(begin_one(router), Outcome.CONNECT_FAILED, 0.0, None)
        waits = features()
        assert router.choose(service, waits, (), 0.0) == Hold(1)
        woken = []
        router.on_change.append(woken.append)
        assert router.replicas_to_probe(0.1) == []
        due = router.replicas_to_probe(0.25)
        assert len(due) == 2
        assert router.replicas_to_probe(0.3) == []
        assert router.probed(due[0], ProbeOutcome.UNHEALTHY, 0.3) is HealthChange.NONE
        assert woken == []
        assert router.probed(due[1], ProbeOutcome.HEALTHY, 0.3) is HealthChange.RESTORED
        assert woken == [service]
        assert begin_one(router, of=waits) is due[1]

    def test_errors_never_eject_the_last_replica(self):
        router = router_for(service_route(target_route(1, 100, (1, 2))))
        for _ in range(20):
            router.end(begin_one(router), Outcome.BAD_STATUS, 0.0, 0.1)
        assert [r.is_ejected for r in router.replicas.values()].count(True) == 1

    def test_a_stopped_replica_is_detected_by_timeouts(self):
        router = router_for(service_route(target_route(1, 100, (1,))))
        replica = begin_one(router, now=100.0)
        assert router.replicas_to_probe(103.0) == []
        assert router.replicas_to_probe(103.1) == [replica]
        assert router.probed(replica, ProbeOutcome.UNRESPONSIVE, 105.1) is HealthChange.NONE
        assert router.replicas_to_probe(105.1) == [replica]
        assert router.probed(replica, ProbeOutcome.UNRESPONSIVE, 107.1) is HealthChange.EJECTED
        assert replica.is_ejected
        assert replica.num_outstanding == 1

    def test_an_unresponsive_replica_that_recovers_gets_queued_requests(self):
        router = router_for(service_route(target_route(1, 100, (1,))))
        replica = begin_one(router, now=100.0)
        for now in (103.1, 105.1):
            assert router.replicas_to_probe(now) == [replica]
            router.probed(replica, ProbeOutcome.UNRESPONSIVE, now + 2)
        waits = features()
        assert router.choose(only_service(router), waits, (), 108.0) == Hold(1)
        woken = []
        router.on_change.append(woken.append)
        router.end(replica, Outcome.OK, 112.0, 12.0)
        assert woken == [only_service(router)]
        assert begin_one(router, of=waits, now=112.0) is replica
        assert router.replicas_to_probe(123.9) == []  # the timeout has grown with its latency
        assert router.replicas_to_probe(124.1) == [replica]

    def test_a_slow_replica_that_passes_probes_is_not_ejected(self):
        router = router_for(service_route(target_route(1, 100, (1,))))
        replica = begin_one(router, now=100.0)
        now = 100.0
        for _ in range(20):
            now += 3.5
            assert router.replicas_to_probe(now) == [replica]
            assert router.probed(replica, ProbeOutcome.HEALTHY, now) is HealthChange.NONE
            assert router.replicas_to_probe(now + 2.9) == []  # a probe response counts
        assert not replica.is_ejected

    def test_failures_of_a_draining_replica_are_counted_without_ejection(self):
        router = router_for(service_route(target_route(1, 100, (1,))))
        replica = begin_one(router)
        begin_one(router)
        router.replace_table(route_table(service_route(target_route(1, 100, (2,)))), 1.0)
        router.end(replica, Outcome.CONNECT_FAILED, 1.0, None)
        assert not replica.is_ejected
        assert replica.num_failures_total == 1


class TestReplaceTable:
    def test_a_new_table_preserves_counts_and_health(self):
        router = router_for(service_route(target_route(1, 100, (1, 2))))
        first, second = begin_one(router), begin_one(router)
        router.end(second, Outcome.CONNECT_FAILED, 0.0, None)
        moved = service_route(target_route(1, 60, (1, 2, 3)), target_route(2, 40, (4,)))
        router.replace_table(route_table(moved, version=2), 1.0)
        kept = {replica.replica_id: replica for replica in router.replicas.values()}
        assert kept[first.replica_id] is first
        assert first.num_outstanding == 1
        assert kept[second.replica_id].is_ejected
        assert len(kept) == 4

    def test_removed_replicas_are_dropped_once_idle(self):
        router = router_for(service_route(target_route(1, 100, (1, 2))))
        replica = begin_one(router)
        router.replace_table(route_table(service_route(target_route(1, 100, (3,)))), 1.0)
        assert {r.replica_id for r in router.replicas.values()} == {replica.replica_id, "r3"}
        assert not replica.is_routed
        assert begin_one(router).replica_id == "r3"
        router.end(replica, Outcome.OK, 2.0, 0.1)
        assert {r.replica_id for r in router.replicas.values()} == {"r3"}

    def test_a_target_that_returns_has_its_requests_in_flight(self):
        one = service_route(target_route(1, 100, (1,)))
        router = router_for(one)
        replica = begin_one(router)
        router.replace_table(route_table(service_route(target_route(2, 100, (2,)))), 1.0)
        router.replace_table(route_table(one), 2.0)
        assert begin_one(router) is replica
        assert replica.num_outstanding == 2
        router.replace_table(route_table(), 3.0)
        router.replace_table(route_table(one), 4.0)
        assert begin_one(router) is replica
        assert only_service(router).num_outstanding == 3

    def test_a_replica_that_returns_belongs_to_the_target_that_is_listed_now(self):
        router = router_for(service_route(target_route(1, 100, (1, 2))))
        for _ in range(2):
            begin_one(router)  # so that both are remembered
        router.replace_table(route_table(service_route(target_route(2, 100, (9,)))), 1.0)
        router.replace_table(route_table(service_route(target_route(1, 100, (1,)))), 2.0)
        for _ in range(5):
            router.end(begin_one(router), Outcome.BAD_STATUS, 2.0, 0.1)
        assert not begin_one(router).is_ejected  # it is the last one there

    def test_a_replica_on_another_port_is_another_one(self):
        router = router_for(service_route(target_route(1, 100, (1,))))
        before = begin_one(router)
        moved = TargetRoute(1, 3000, 100, (replica_route(1, port=30001),))
        router.replace_table(route_table(service_route(moved)), 1.0)
        after = begin_one(router)
        assert after is not before
        assert after.replica_id == before.replica_id
        assert (before.num_outstanding, after.num_outstanding) == (1, 1)

    def test_on_change_is_called_for_each_service(self):
        router = router_for(service_route(target_route(1, 100, (1,)), name="a"))
        names = []
        router.on_change.append(lambda service: names.append(service.name))
        table = route_table(service_route(name="b"), service_route(name="c"))
        router.replace_table(table, 1.0)
        assert sorted(names) == ["a", "b", "c"]


class TestMisuse:
    def test_ending_a_request_that_did_not_begin_raises(self):
        router = router_for(service_route(target_route(1, 100, (1,))))
        replica = begin_one(router)
        router.end(replica, Outcome.OK, 0.0, 0.1)
        with pytest.raises(RuntimeError, match="no request that could end"):
            router.end(replica, Outcome.OK, 0.0, 0.1)

    def test_a_negative_number_of_waiting_requests_raises(self):
        router = router_for(service_route(target_route(1, 100)))
        with pytest.raises(RuntimeError, match="Negative number of requests"):
            router.count_waiting(only_service(router), 1, -1)
