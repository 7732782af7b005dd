"""Invariants under requests, failures, probes and new tables in any order."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace.core.gateway.routes import Limits, RouteTable, Sticky
from headrace.gateway.errors import ErrorResponse
from headrace.gateway.reporting.stats import gateway_stats
from headrace.gateway.routing.decisions import Hold, Outcome
from headrace.gateway.routing.ejection import MAX_PROBE_INTERVAL_S, HealthChange, ProbeOutcome
from headrace.gateway.routing.request_features import RequestFeatures
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ReplicaEndpoint, ServiceState
from headrace.testing.route_tables import route_table, service_route, target_route

NUM_REPLICAS_PER_REVISION = 3
VERDICTS = {
    ProbeOutcome.HEALTHY: {HealthChange.NONE, HealthChange.RESTORED},
    ProbeOutcome.UNHEALTHY: {HealthChange.NONE, HealthChange.DEAD},
    ProbeOutcome.UNRESPONSIVE: {
        HealthChange.NONE,
        HealthChange.EJECTED,
    },  # requests continue
}
FAILURES = (Outcome.CONNECT_FAILED, Outcome.CUT, Outcome.BAD_STATUS, Outcome.TIMEOUT)


@st.composite
def tables(draw: st.DrawFn) -> RouteTable:
    """Up to two services of up to three revisions, each with some of its replicas."""
    services = []
    for name in draw(st.sets(st.sampled_from(["a", "b"]))):
        targets = []
        for revision in sorted(draw(st.sets(st.integers(1, 3)))):
            first = (100 if name == "a" else 200) + 10 * revision
            numbers = draw(st.sets(st.integers(first, first + NUM_REPLICAS_PER_REVISION - 1)))
            weight = draw(st.integers(0, 5))
            scales = draw(st.booleans())
            targets.append(
                target_route(revision, weight, tuple(sorted(numbers)), scales_from_zero=scales)
            )
        limits = Limits(
            max_concurrency=draw(st.sampled_from([None, None, 3])),
            max_queue=draw(st.sampled_from([0, 2, 100])),
        )
        services.append(
            service_route(
                *targets, name=name, is_enabled=draw(st.integers(0, 9)) > 0, limits=limits
            )
        )
    return route_table(*services)


@dataclass(eq=False)
class Request:
    """As the data path would store it."""

    service: ServiceState
    features: RequestFeatures
    tried: set[str] = field(default_factory=set)
    replica: ReplicaEndpoint | None = None
    held_in: int | None = None


class Traffic(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.router = Router(self.now)
        self.requests: list[Request] = []
        self.num_begun = 0
        self.num_ended = 0

    @rule(table=tables())
    def replace_table(self, table):
        self.router.replace_table(table, self.now)

    @rule(later=st.floats(0, 4))
    def time_passes(self, later):
        self.now += later

    @rule(
        name=st.sampled_from([b"a", b"b"]),
        key=st.sampled_from([None, None, b"x", b"y"]),
        hashes=st.sampled_from([(), (1,), (1, 2), (3, 4, 5)]),
        digest=st.sampled_from([None, b"p", b"q"]),
    )
    def arrive(self, name, key, hashes, digest):
        match = self.router.find_service(name + b".localhost", b"/v1")
        if match is not None:
            request = Request(match.service, RequestFeatures(key, hashes))
            request.features.digest = digest
            self.requests.append(request)
            self.choose(request)

    @precondition(lambda self: self.under_way())
    @rule(
        data=st.data(),
        outcome=st.sampled_from([Outcome.OK, Outcome.OK, Outcome.CLIENT_DISCONNECTED]),
    )
    def finish(self, data, outcome):
        request = data.draw(st.sampled_from(self.under_way()))
        self.end(request, outcome)
        self.requests.remove(request)

    @precondition(lambda self: self.under_way())
    @rule(data=st.data(), outcome=st.sampled_from(FAILURES))
    def fail_and_retry(self, data, outcome):
        request = data.draw(st.sampled_from(self.under_way()))
        assert request.replica is not None
        if outcome is not Outcome.CONNECT_FAILED:  # the replica was never reached
            request.tried.add(request.replica.replica_id)
            is_cut = outcome is Outcome.CUT
            self.router.record_loss(
                request.replica, request.features, self.now, self.now, is_cut=is_cut
            )
        self.end(request, outcome)
        self.choose(request)

    @rule(outcome=st.sampled_from(ProbeOutcome))
    def probe(self, outcome):
        due = self.router.replicas_to_probe(self.now)
        assert self.router.replicas_to_probe(self.now) == []
        for replica in due:
            verdict = self.router.probed(replica, outcome, self.now)
            assert verdict in VERDICTS[outcome]
            if verdict is HealthChange.DEAD:
                for request in [one for one in self.under_way() if one.replica is replica]:
                    request.tried.add(replica.replica_id)
                    self.router.record_loss(
                        replica, request.features, self.now, self.now, is_cut=False
                    )
                    self.end(request, Outcome.TIMEOUT)
                    self.choose(request)
            self.router.conclude_probe(replica, outcome, self.now, self.now)

    @rule()
    def choose_held_ones_again(self):
        for request in [request for request in self.requests if request.held_in is not None]:
            self.choose(request)

    def under_way(self):
        return [request for request in self.requests if request.replica is not None]

    def end(self, request, outcome):
        replica, features = request.replica, request.features
        if outcome is Outcome.OK and features.digest is not None:
            self.router.record_success(replica, features)
        self.router.end(replica, outcome, self.now, 0.1)
        if features.isolated is not None:
            self.router.end_isolation(replica, features)
        request.replica = None
        self.num_ended += 1

    def choose(self, request):
        router, service = self.router, request.service
        choice = router.choose(service, request.features, request.tried, self.now)
        if request.held_in is not None:
            router.count_waiting(service, request.held_in, -1)
            request.held_in = None
        if isinstance(choice, Hold):
            router.count_waiting(service, choice.revision, +1)
            request.held_in = choice.revision
            return
        if isinstance(choice, ErrorResponse):
            assert choice.status in (429, 503, 422)
            assert choice.status != 422 or request.features.digest is not None
            self.requests.remove(request)
            return
        assert isinstance(choice, ReplicaEndpoint)
        replica = choice
        assert replica.is_routed
        assert not replica.is_ejected
        assert replica.replica_id not in request.tried
        assert replica.service == service.name
        assert request.features.isolated is None or replica.isolated is None
        assert any(t.weight > 0 and replica in t.replicas for t in service.targets)
        limit = service.limits.max_concurrency
        assert limit is None or service.num_outstanding < limit
        router.begin(replica, request.features, self.now)
        request.replica = replica
        self.num_begun += 1

    @invariant()
    def counts_are_those_of_the_requests(self):
        stats = gateway_stats(self.router, self.now)
        outstanding = Counter(
            request.replica.replica_id for request in self.requests if request.replica
        )
        assert {
            name: replica.num_outstanding
            for name, replica in stats.replicas.items()
            if replica.num_outstanding
        } == outstanding
        by_revision = Counter(
            f"{request.service.name}/{request.replica.revision}" for request in self.under_way()
        )
        waiting = Counter(
            f"{request.service.name}/{request.held_in}"
            for request in self.requests
            if request.held_in is not None
        )
        for name, revision in stats.revisions.items():
            assert revision.num_outstanding == by_revision.pop(name, 0)
            assert revision.num_waiting == waiting.pop(name, 0)
        assert not by_revision
        assert not waiting
        for service in self.router.services.values():
            assert service.num_outstanding == sum(
                request.service is service for request in self.under_way()
            )

    @invariant()
    def isolated_replicas_are_those_of_the_requests(self):
        isolated = [one for one in self.under_way() if one.features.isolated is not None]
        digests = [(one.service.name, one.features.digest) for one in isolated]
        assert len(set(digests)) == len(digests)
        at = {one.replica for one in isolated}
        assert len(at) == len(isolated)
        assert {replica for replica in self.router.replicas.values() if replica.isolated} == at

    @invariant()
    def only_routed_or_busy_replicas_are_known(self):
        for replica in self.router.replicas.values():
            assert replica.is_routed or replica.num_outstanding > 0 or replica.needs_probe
        for service in self.router.services.values():
            assert service.is_listed or service.num_outstanding or service.num_waiting

    def teardown(self):
        """Once probes succeed and replicas are ready, every held request can be sent."""
        self.replace_table(
            route_table(
                *(
                    service_route(target_route(1, 100, tuple(range(first, first + 100))), name=name)
                    for name, first in (("a", 1000), ("b", 2000))
                )
            )
        )
        self.now += MAX_PROBE_INTERVAL_S
        self.probe(ProbeOutcome.HEALTHY)
        self.choose_held_ones_again()
        while self.under_way():  # one after the other, of those that are isolated
            self.finish_first()
            self.choose_held_ones_again()
        assert not [request for request in self.requests if request.held_in is not None]
        assert self.num_begun == self.num_ended
        self.router.replace_table(route_table(), self.now)
        assert self.router.replicas == {}
        assert self.router.services == {}

    def finish_first(self):
        request = self.under_way()[0]
        self.end(request, Outcome.OK)
        self.requests.remove(request)


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=2, max_size=5).filter(any),
    st.lists(st.integers(0, 1_000_000), min_size=50, max_size=300),
)
def test_the_split_is_exact_in_any_order_of_completion(weights, ends):
    targets = [
        target_route(revision, weight, (10 * revision, 10 * revision + 1))
        for revision, weight in enumerate(weights, 1)
    ]
    router = Router(0.0)
    router.replace_table(route_table(service_route(*targets)), 0.0)
    service = router.services["openllm"]
    total = sum(weights)
    counts: Counter[int] = Counter()
    under_way: list[ReplicaEndpoint] = []
    for num_requests, end in enumerate(ends, 1):
        features = RequestFeatures(None, (end % 7,))
        choice = router.choose(service, features, (), 0.0)
        assert isinstance(choice, ReplicaEndpoint)
        router.begin(choice, features, 0.0)
        under_way.append(choice)
        counts[choice.revision] += 1
        for revision, weight in enumerate(weights, 1):
            assert abs(counts[revision] * total - num_requests * weight) < total
        for _ in range(end % 3):
            if under_way:
                router.end(under_way.pop(end % len(under_way)), Outcome.OK, 0.0, 0.1)


@settings(deadline=None)
@given(st.integers(2, 4), st.lists(st.sampled_from(FAILURES), min_size=20, max_size=60))
def test_every_revision_recovers_from_any_failures(num_replicas, outcomes):
    router = Router(0.0)
    numbers = tuple(range(num_replicas))
    route = service_route(target_route(1, 100, numbers), sticky=Sticky(header="x"))
    router.replace_table(route_table(route), 0.0)
    service = router.services["openllm"]
    now = 0.0
    for outcome in outcomes:
        features = RequestFeatures(None, ())
        choice = router.choose(service, features, (), now)
        if isinstance(choice, Hold):
            now += MAX_PROBE_INTERVAL_S
            due = router.replicas_to_probe(now)
            assert len(due) == num_replicas
            for replica in due:
                router.probed(replica, ProbeOutcome.HEALTHY, now)
            choice = router.choose(service, features, (), now)
        assert isinstance(choice, ReplicaEndpoint)
        router.begin(choice, features, now)
        router.end(choice, outcome, now, None)
