"""The recorder over a real store, with scripted replicas, gateway and clocks."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.control.errors import StoreError
from headrace.control.history.current import CurrentMetrics
from headrace.control.history.recorder import HistoryRecorder
from headrace.control.history.revision_sample import METRICS
from headrace.control.history.series import Period
from headrace.control.operations.history import read_history
from headrace.control.processes.process_group import own_handle, process_trees
from headrace.control.processes.process_usage import ProcessUsageReader
from headrace.control.resources import (
    Replica,
    ReplicaState,
    RevisionKey,
    RevisionPhase,
    Service,
)
from headrace.control.scaling.replica_metrics import ReplicaPage
from headrace.control.scaling.replica_scraper import PageScrape, ReplicaScraper
from headrace.control.store.store import Store
from headrace.control.store.writes import Transaction
from headrace.control.traffic.gateway_link import GatewayLink, StatsScrape
from headrace.core.gateway.stats import TTFT_BUCKETS_S, GatewayStats, RevisionStats

BEGIN = 1_767_225_600  # a multiple of every step
SPEC = {"run": "serve --port 3000", "ports": [3000]}
KEY = RevisionKey("svc", 1)


class Clocks:
    """A wall clock and a monotonic one."""

    def __init__(self) -> None:
        self.wall_s = BEGIN + 0.3
        self.monotonic_s = 5000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.wall_s, UTC)

    def monotonic(self) -> float:
        return self.monotonic_s


class ScriptedScraper(ReplicaScraper):
    def __init__(self, clocks: Clocks) -> None:
        super().__init__(clocks.monotonic)
        self.pages: dict[str, ReplicaPage] = {}
        self.urls: Mapping[str, str] = {}

    async def scrape(
        self, urls: Mapping[str, str], max_age_s: float = 0.0
    ) -> dict[str, PageScrape]:
        self.urls = urls
        return {
            name: PageScrape(self._clock_s(), self.pages[name])
            for name in urls
            if name in self.pages
        }


class ScriptedGateway(GatewayLink):
    def __init__(self, clocks: Clocks) -> None:
        super().__init__("http://127.0.0.1:1", clocks.monotonic)
        self.revisions: dict[str, RevisionStats] | None = {}
        """None: it does not respond."""
        self.uptime_s = 1e6

    async def recent(self, max_age_s: float) -> StatsScrape | None:
        if self.revisions is None:
            return None
        stats = GatewayStats(1, self.uptime_s, {}, self.revisions)
        return StatsScrape(self._clock_s(), stats)


class Plane:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.clocks = Clocks()
        self.scraper = ScriptedScraper(self.clocks)
        self.gateway = ScriptedGateway(self.clocks)
        self.current = CurrentMetrics()
        self.recorder = self.new_recorder()
        self.add_service()

    def new_recorder(self) -> HistoryRecorder:
        return HistoryRecorder(
            self.store,
            self.scraper,
            self.gateway,
            ProcessUsageReader(process_trees),
            self.current,
            self.clocks.now,
            self.clocks.monotonic,
        )

    def add_service(self) -> None:
        with self.store.begin() as tx:
            tx.add_service(Service("svc", self.clocks.now()))
            tx.add_revision("svc", SPEC, 1, self.clocks.now())

    def add_replica(self, name: str, state: ReplicaState = ReplicaState.READY) -> None:
        now = self.clocks.now()
        with self.store.begin() as tx:
            tx.add_replica(
                Replica(
                    name, "svc", 1, state, now, now, process=own_handle(), host_ports={3000: 4000}
                )
            )

    def count(self, num_requests: int, ttft: tuple[int, ...] = (), num_errors: int = 0) -> None:
        """Since the gateway started."""
        self.gateway.revisions = {
            str(KEY): RevisionStats(0, 0, num_requests, ttft, 1.0, num_errors_total=num_errors)
        }

    def advance(self, seconds: float = 15.0) -> None:
        self.clocks.wall_s += seconds
        self.clocks.monotonic_s += seconds

    def sample(self) -> None:
        asyncio.run(self.recorder.run_pass())

    def series(
        self, metric: str, period: Period = Period.HOUR, revision: int = 1
    ) -> dict[int, float]:
        """By seconds since the beginning, without gaps."""
        history = read_history(self.store, "svc", period, self.clocks.now(), revision)
        pairs = zip(history.window.times(), history.revisions[revision][metric], strict=True)
        return {time - BEGIN: value for time, value in pairs if value is not None}


@contextmanager
def plane_at(template: Path, folder: Path) -> Iterator[Plane]:
    path = folder / "state.db"
    path.write_bytes(template.read_bytes())
    store = Store.open(f"sqlite:///{path}")
    try:
        yield Plane(store)
    finally:
        store.close()
        for left in folder.glob("state.db*"):
            left.unlink()


@pytest.fixture
def plane(sqlite_template: Path, tmp_path: Path) -> Iterator[Plane]:
    with plane_at(sqlite_template, tmp_path) as plane:
        yield plane


def page(num_tokens: float, num_running: float = 2.0) -> ReplicaPage:
    return ReplicaPage(1.0, 0.25, 0.0, num_running, generation_tokens_total=num_tokens)


def test_each_step_has_the_rates_of_its_time(plane: Plane) -> None:
    plane.add_replica("a")
    for number in range(4):
        plane.advance()
        plane.count(30 * number, num_errors=3 * number)
        plane.scraper.pages = {"a": page(150.0 * number)}
        plane.sample()
    assert plane.scraper.urls == {"a": "http://127.0.0.1:4000/metrics"}
    assert plane.series("requests_per_s") == {15: 2.0, 30: 2.0, 45: 2.0}
    assert plane.series("errors_per_s") == {15: 0.2, 30: 0.2, 45: 0.2}
    assert plane.series("generation_tokens_per_s") == {15: 10.0, 30: 10.0, 45: 10.0}
    assert plane.series("num_ready_replicas") == dict.fromkeys((0, 15, 30, 45), 1.0)
    assert plane.series("num_running") == dict.fromkeys((0, 15, 30, 45), 2.0)


def test_a_step_without_a_pass_is_a_gap(plane: Plane) -> None:
    for seconds in (15, 15, 30, 15):
        plane.advance(seconds)
        plane.sample()
    assert list(plane.series("num_ready_replicas")) == [0, 15, 45, 60]


def test_two_passes_in_one_step_are_one_sample(plane: Plane) -> None:
    plane.count(0)
    plane.advance()
    plane.sample()
    plane.advance()
    plane.count(30)
    plane.sample()
    plane.advance(1)
    plane.count(1000)
    plane.sample()
    assert plane.series("requests_per_s") == {15: 2.0}


def test_five_minutes_have_the_percentiles_of_all_their_requests(plane: Plane) -> None:
    """Of 5 % slow ones, all in one of 20 steps: no step shows it but its own."""
    fast, slow = TTFT_BUCKETS_S.index(0.1), TTFT_BUCKETS_S.index(10.0)
    ttft = [0] * (len(TTFT_BUCKETS_S) + 1)
    plane.count(0, tuple(ttft))
    plane.sample()
    for step in range(20):
        plane.advance()
        ttft[slow if step in (7, 8) else fast] += 10
        plane.count(10 * (step + 1), tuple(ttft))
        plane.sample()
    [p95] = plane.series("ttft_p95_s", Period.DAY).values()
    [p50] = plane.series("ttft_p50_s", Period.DAY).values()
    assert p95 == pytest.approx(7.5)  # the middle of the slow bucket: half of 20 of 200
    assert 0.05 < p50 < 0.1
    assert list(plane.series("ttft_p95_s", Period.DAY)) == [0]
    assert plane.series("requests_per_s", Period.DAY)[0] == pytest.approx(10 / 15)
    assert sum(value > 1 for value in plane.series("ttft_p95_s").values()) == 2


def test_a_gateway_that_does_not_respond_hides_no_replicas(plane: Plane) -> None:
    plane.add_replica("a")
    plane.gateway.revisions = None
    for number in range(2):
        plane.advance()
        plane.scraper.pages = {"a": page(30.0 * number)}
        plane.sample()
    assert plane.series("generation_tokens_per_s") == {15: 2.0}
    assert plane.series("requests_per_s") == {}


def test_draining_replicas_still_count_and_are_not_ready(plane: Plane) -> None:
    plane.add_replica("a", ReplicaState.DRAINING)
    plane.add_replica("b", ReplicaState.STARTING)
    plane.advance()
    plane.scraper.pages = {"a": page(0.0), "b": page(0.0)}
    plane.sample()
    assert list(plane.scraper.urls) == ["a"]
    assert plane.series("num_running") == {0: 2.0}
    assert plane.series("num_ready_replicas") == {0: 0.0}


def test_the_current_metrics_of_replicas_and_revisions_are_in_memory(plane: Plane) -> None:
    plane.add_replica("a")
    plane.add_replica("silent")
    plane.advance()
    plane.scraper.pages = {"a": page(0.0)}
    plane.sample()
    plane.advance()
    plane.sample()
    load = plane.current.replica("a")
    assert (load.num_running, load.num_waiting, load.kv_cache_usage) == (2, 1, 0.25)
    assert load.num_bytes is not None
    assert load.num_bytes >= psutil.Process().memory_info().rss // 2
    assert load.num_busy_cores is not None
    silent = plane.current.replica("silent")
    assert silent.num_running is None
    assert silent.num_bytes is not None
    assert plane.current.replica("unknown").num_bytes is None
    assert plane.current.revision(KEY).num_ready_replicas == 2


def test_a_service_that_was_recreated_has_nothing_of_the_former_one(plane: Plane) -> None:
    plane.advance()
    plane.count(1000)
    plane.sample()
    with plane.store.begin() as tx:
        tx.remove_service("svc")
    plane.advance()
    plane.add_service()
    plane.count(3)
    plane.sample()
    assert plane.series("requests_per_s") == {}
    plane.advance()
    plane.count(33)
    plane.sample()
    assert plane.series("requests_per_s") == {30: 2.0}


def test_a_terminated_revision_keeps_its_history_with_its_last_minutes(plane: Plane) -> None:
    plane.advance()
    plane.sample()
    with plane.store.begin() as tx:
        tx.set_phase("svc", 1, RevisionPhase.TERMINATED)
    for _ in range(25):
        plane.advance()
        plane.sample()
    assert list(plane.series("num_ready_replicas")) == [0]
    assert list(plane.series("num_ready_replicas", Period.DAY)) == [0]


def test_a_database_that_fails_is_logged_once_and_loses_no_sample(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise StoreError("The disk is full.")

    caplog.set_level(logging.INFO, "headrace.control")
    with monkeypatch.context() as patched:
        patched.setattr(Transaction, "save_history", fail)
        for _ in range(2):
            plane.advance()
            plane.sample()
    plane.advance()
    plane.sample()
    assert list(plane.series("num_ready_replicas")) == [0, 15, 30]
    messages = [record.message for record in caplog.records]
    assert messages == ["history: StoreError: The disk is full.", "history: recovered"]


def test_a_new_control_plane_continues_the_history(plane: Plane) -> None:
    for _ in range(2):
        plane.advance()
        plane.count(30)
        plane.sample()
        plane.recorder = plane.new_recorder()
    plane.advance()
    plane.count(60)
    plane.sample()
    plane.advance()
    plane.count(90)
    plane.sample()
    assert list(plane.series("num_ready_replicas")) == [0, 15, 30, 45]
    assert plane.series("requests_per_s") == {45: 2.0}  # counters are unknown after a start


jumps = st.lists(
    st.tuples(st.floats(0.0, 40.0), st.floats(-4000.0, 4000.0) | st.just(0.0)), max_size=15
)


@given(jumps)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_steps_of_the_wall_clock_distort_no_rate(
    sqlite_template: Path, tmp_path: Path, jumps: list[tuple[float, float]]
) -> None:
    """Two requests a second, whatever the wall clock says."""
    with plane_at(sqlite_template, tmp_path) as plane:
        began_s = plane.clocks.monotonic_s
        for elapsed_s, jump_s in jumps:
            plane.advance(elapsed_s)
            plane.clocks.wall_s += jump_s
            plane.count(round((plane.clocks.monotonic_s - began_s) * 2_000_000))
            plane.sample()
        plane.clocks.wall_s = max(plane.clocks.wall_s, BEGIN) + 15
        for period in Period:
            for rate in plane.series("requests_per_s", period).values():
                assert rate == pytest.approx(2_000_000, rel=0.001)
        with plane.store.read() as queries:
            assert queries.history.num_blocks() <= 2 * len(jumps)


def test_a_wall_clock_that_is_set_back_leaves_no_gap(plane: Plane) -> None:
    for number in range(3):
        plane.advance()
        if number == 2:
            plane.clocks.wall_s -= 600
        plane.count(30 * number)
        plane.sample()
    assert plane.series("requests_per_s") == {-570: 2.0}  # what is later is not shown yet
    plane.clocks.wall_s += 600
    assert plane.series("requests_per_s") == {-570: 2.0, 15: 2.0}


def test_every_metric_is_recorded(plane: Plane) -> None:
    plane.add_replica("a")
    counts = [0, 4, *[0] * (len(TTFT_BUCKETS_S) - 1)]
    for number in range(2):
        plane.advance()
        plane.count(10 * number, tuple(number * count for count in counts))
        plane.scraper.pages = {
            "a": ReplicaPage(
                num_waiting=1.0,
                kv_cache_usage=0.5,
                num_finished_total=0.0,
                num_running=2.0,
                prompt_tokens_total=100.0 * number,
                generation_tokens_total=50.0 * number,
                prefix_cache_queries_total=100.0 * number,
                prefix_cache_hits_total=25.0 * number,
                preemptions_total=3.0 * number,
                inter_token_counts={0.01: 10.0 * number, 0.1: 0.0},
            )
        }
        plane.sample()
    for metric in METRICS:
        assert 15 in plane.series(metric), metric


def test_the_clock_of_the_last_sample_is_its_own(plane: Plane) -> None:
    """A pass that is late belongs to the step that ended before it."""
    plane.advance(15 + 12)
    plane.sample()
    assert list(plane.series("num_ready_replicas")) == [0]
    assert plane.clocks.now() - datetime.fromtimestamp(BEGIN, UTC) > timedelta(seconds=25)
