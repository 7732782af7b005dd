"""The control plane's Prometheus metrics: its resources, from the store at each scrape, and its
control loop."""

from collections import Counter as Counts
from collections.abc import Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace.control.replicas.crash_history import CrashHistory
from headrace.control.resources import (
    REPLICA_CHANGES,
    RUN_CHANGES,
    GatewayStatus,
    ReplicaState,
    RevisionKey,
    RunState,
)
from headrace.control.snapshot import Snapshot, load_snapshot
from headrace.control.store.store import Store
from headrace.core.errors import HeadraceError
from headrace.version import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "headrace_control_"
REVISION = ("service", "revision")
PASS_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LIVE_STATES = tuple(state for state in ReplicaState if REPLICA_CHANGES[state])
LIVE_RUN_STATES = tuple(state for state in RunState if RUN_CHANGES[state])


class ControlMetrics:
    """The metrics of one control plane and of this process."""

    def __init__(self, store: Store, crashes: CrashHistory) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_ResourceCollector(store, crashes))
        self.pass_duration = Histogram(
            PREFIX + "pass_duration_seconds",
            "Duration of a pass of the control loop.",
            buckets=PASS_BUCKETS_S,
            registry=self._registry,
        )
        self._errors = Counter(
            PREFIX + "pass_errors",
            "Failed parts of passes.",
            labelnames=("part",),
            registry=self._registry,
        )
        self.last_pass = Gauge(
            PREFIX + "last_pass_timestamp_seconds",
            "End of the last pass, in Unix seconds.",
            registry=self._registry,
        )
        info = Gauge(PREFIX + "info", "Version.", labelnames=("version",), registry=self._registry)
        info.labels(__version__).set(1)

    def note_error(self, part: str) -> None:
        """``part``: its first word is a kind of part, such as ``revision``."""
        self._errors.labels(part.partition(" ")[0]).inc()

    def expose(self) -> bytes:
        """All metrics in the format of CONTENT_TYPE. Reads the store."""
        return generate_latest(self._registry)


class _ResourceCollector(Collector):
    def __init__(self, store: Store, crashes: CrashHistory) -> None:
        self._store = store
        self._crashes = crashes

    def describe(self) -> Iterable[Metric]:
        return ()  # else the registry would collect once to get the names

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(PREFIX + "database_up", "1 if the database can be read.")
        try:
            snapshot = load_snapshot(self._store)
            with self._store.read() as queries:
                runs = Counts(run.state for run in queries.runs(open_only=True))
        except HeadraceError:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        yield _services(snapshot)
        yield _gateways(snapshot)
        yield from _revisions(snapshot, self._crashes)
        yield _replicas(snapshot)
        yield _runs(runs)


def _services(snapshot: Snapshot) -> Metric:
    services = GaugeMetricFamily(PREFIX + "services", "Number of services.")
    services.add_metric((), len(snapshot.services))
    return services


def _gateways(snapshot: Snapshot) -> Metric:
    statuses = GaugeMetricFamily(
        PREFIX + "gateway_status",
        "1 for the status of a service's gateway.",
        labels=("service", "status"),
    )
    for gateway in snapshot.gateways:
        if gateway.is_enabled:
            for status in GatewayStatus:
                statuses.add_metric((gateway.service, status.value), int(gateway.status is status))
    return statuses


def _revisions(snapshot: Snapshot, crashes: CrashHistory) -> Iterator[Metric]:
    desired = GaugeMetricFamily(
        PREFIX + "desired_replicas", "Desired number of replicas.", labels=REVISION
    )
    weights = GaugeMetricFamily(
        PREFIX + "traffic_weight", "Share of its service's traffic, in percent.", labels=REVISION
    )
    loops = GaugeMetricFamily(
        PREFIX + "crash_loop", "1 while the revision is in a crash loop.", labels=REVISION
    )
    failures = CounterMetricFamily(
        PREFIX + "replica_crashes",
        "Crashes of replicas since the control plane started. Each is replaced.",
        labels=REVISION,
    )
    weight_of = {
        RevisionKey(gateway.service, target.number): target.weight
        for gateway in snapshot.gateways
        if gateway.is_enabled
        for target in gateway.applied_targets
    }
    for revision in snapshot.revisions:
        labels = (revision.service, str(revision.number))
        desired.add_metric(labels, revision.num_desired_replicas)
        weights.add_metric(labels, weight_of.get(revision.key, 0))
        loops.add_metric(labels, int(crashes.is_loop(revision.key)))
        failures.add_metric(labels, crashes.num_total(revision.key))
    yield from (desired, weights, loops, failures)


def _replicas(snapshot: Snapshot) -> Metric:
    replicas = GaugeMetricFamily(
        PREFIX + "replicas", "Number of replicas by state.", labels=(*REVISION, "state")
    )
    for revision in snapshot.revisions:
        states = Counts(replica.state for replica in snapshot.replicas_of(revision.key))
        for state in LIVE_STATES:
            labels = (revision.service, str(revision.number), state.value)
            replicas.add_metric(labels, states[state])
    return replicas


def _runs(counts: Counts[RunState]) -> Metric:
    runs = GaugeMetricFamily(
        PREFIX + "runs", "Number of runs that are not over, by state.", labels=("state",)
    )
    for state in LIVE_RUN_STATES:
        runs.add_metric((state.value,), counts[state])
    return runs
