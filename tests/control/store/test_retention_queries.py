"""What is alive, and the newest of the past, are found without reading all of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from headrace.control.resources import (
    Event,
    Replica,
    ReplicaState,
    RevisionKey,
    RevisionPhase,
    Run,
    RunState,
    Service,
)
from headrace.control.store.queries import Queries
from headrace.control.store.retention_queries import Cursor
from headrace.control.store.store import Store

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


def make_replica(replica_id: str, **changes: Any) -> Replica:
    replica = Replica(replica_id, "openllm", 1, ReplicaState.PENDING, NOW, NOW)
    return replace(replica, **changes)


@pytest.fixture
def deployed(store: Store) -> Store:
    """With one service of one revision."""
    with store.begin() as tx:
        tx.add_service(Service("openllm", NOW))
        tx.add_revision("openllm", {"message": "first"}, 1, NOW)
    return store


def test_the_newest_revisions_come_page_by_page(deployed: Store) -> None:
    with deployed.begin() as tx:
        for _ in range(4):
            tx.add_revision("openllm", {}, 1, NOW)
        tx.set_phase("openllm", 2, RevisionPhase.TERMINATED)
        tx.set_phase("openllm", 3, RevisionPhase.TERMINATING)
    with deployed.read() as queries:

        def numbers(**asked: Any) -> list[int]:
            return [one.number for one in queries.revisions("openllm", **asked)]

        assert numbers(limit=2) == [4, 5]
        assert numbers(limit=2, before=4) == [2, 3]
        assert numbers(limit=2, before=2) == [1]
        assert numbers(live_only=True) == [1, 3, 4, 5]
        assert queries.num_revisions() == queries.num_revisions("openllm") == {"openllm": 5}
        assert queries.num_revisions("other") == {}


def test_the_newest_replicas_come_page_by_page(deployed: Store) -> None:
    with deployed.begin() as tx:
        tx.add_revision("openllm", {}, 1, NOW)
        for number, second in enumerate([0, 0, 0, 1, 2]):  # some are made at once
            at = NOW + timedelta(seconds=second)
            tx.add_replica(make_replica(f"r{number}", created_at=at, revision=1 + number % 2))
    with deployed.read() as queries:

        def page(limit: int, before: str | None, revision: int | None = None) -> list[str]:
            found = queries.replicas("openllm", revision, limit=limit, before=before)
            return [one.replica_id for one in found]

        assert page(2, None) == ["r3", "r4"]
        assert page(2, "r3") == ["r1", "r2"]
        assert page(2, "r1") == ["r0"]
        assert page(2, "r0") == []
        assert page(2, "no such one") == []
        assert page(9, "r4", revision=1) == ["r0", "r2"]
        assert [one.replica_id for one in queries.replicas(before="r2")] == ["r0", "r1"]


def test_the_replicas_that_went_last_are_found(deployed: Store) -> None:
    with deployed.begin() as tx:
        tx.add_revision("openllm", {}, 1, NOW)
        states = [ReplicaState.FAILED, ReplicaState.STOPPED, ReplicaState.READY]
        for number in range(9):
            at = NOW + timedelta(seconds=number)
            tx.add_replica(make_replica(f"r{number}", state=states[number % 3], changed_at=at))
        tx.add_replica(make_replica("other", revision=2, state=ReplicaState.FAILED))
    with deployed.read() as queries:
        last = [one.replica_id for one in queries.last_gone("openllm", 1, 3)]
        assert last == ["r7", "r6", "r4"]
        assert len(queries.last_gone("openllm", 1, 99)) == 6
        assert queries.last_gone("other", 1, 3) == []
        since = queries.failed_since(NOW + timedelta(seconds=3))
        assert [one.replica_id for one in since] == ["r3", "r6"]


def test_the_replicas_that_decide_a_status_are_found_for_many_revisions(deployed: Store) -> None:
    with deployed.begin() as tx:
        for _ in range(3):
            tx.add_revision("openllm", {}, 1, NOW)
        for revision in (1, 2):
            for number in range(4):
                at = NOW + timedelta(seconds=number)
                name = f"r{revision}{number}"
                tx.add_replica(
                    make_replica(name, revision=revision, state=ReplicaState.FAILED, changed_at=at)
                )
        tx.add_replica(make_replica("ready", revision=1, state=ReplicaState.READY))
        tx.add_replica(make_replica("starting", revision=2, state=ReplicaState.STARTING))
        tx.set_phase("openllm", 4, RevisionPhase.TERMINATED)
    with deployed.read() as queries:
        revisions = queries.revisions("openllm")
        found = queries.status_replicas("openllm", revisions, 3)
        assert {
            number: {one.replica_id for one in replicas} for number, replicas in found.items()
        } == {1: {"ready"}, 2: {"starting", "r21", "r22", "r23"}, 3: set()}
        assert queries.status_replicas("openllm", [], 3) == {}


def test_history_tells_the_oldest_first(deployed: Store) -> None:
    with deployed.begin() as tx:
        for number, second in enumerate([3, 1, 1, 2]):
            at = NOW + timedelta(seconds=second)
            tx.add_replica(make_replica(f"r{number}", state=ReplicaState.FAILED, changed_at=at))
        tx.add_replica(make_replica("live", state=ReplicaState.READY))
    key = RevisionKey("openllm", 1)
    until = NOW + timedelta(seconds=2)
    with deployed.read() as queries:
        history = queries.retention
        assert history.num_gone() == {key: 4}
        assert [one.replica_id for one in history.oldest_gone(key, 3)] == ["r1", "r2", "r3"]
        mark, seen = Cursor(NOW - timedelta(days=1)), []
        while found := history.gone_between(mark, until, 1):
            seen += [one.replica_id for one in found]
            mark = Cursor(found[-1].at, found[-1].replica_id)
        assert seen == ["r1", "r2", "r3"]
        assert history.known_replicas(["r0", "live", "stray"]) == {"r0", "live"}
        assert sorted(history.replica_ids("openllm")) == ["live", "r0", "r1", "r2", "r3"]


def test_the_newest_runs_come_page_by_page(store: Store) -> None:
    with store.begin() as tx:
        for number in range(4):
            at = NOW + timedelta(seconds=number // 2)
            tx.add_run(Run(str(number), "job", {}, RunState.COMPLETED, at, at))
    with store.read() as queries:
        assert [run.run_id for run in queries.runs(limit=3)] == ["1", "2", "3"]
        assert [run.run_id for run in queries.runs(limit=3, before="1")] == ["0"]
        assert [run.run_id for run in queries.runs(before="2")] == ["0", "1"]


QUERIES: dict[str, Callable[[Queries], object]] = {
    "what lives": lambda queries: queries.replicas(live_only=True),
    "what of a revision lives": lambda queries: queries.replicas("openllm", 1, live_only=True),
    "what went last": lambda queries: queries.last_gone("openllm", 1, 3),
    "what failed lately": lambda queries: queries.failed_since(NOW + timedelta(days=1)),
    "the newest replicas": lambda queries: queries.replicas("openllm", limit=5),
    "what runs are open": lambda queries: queries.runs(open_only=True),
    "the newest runs": lambda queries: queries.runs(limit=5),
    "revisions that are not terminated": lambda queries: queries.revisions(live_only=True),
    "the newest events": lambda queries: queries.events(service="openllm", limit=5),
}


@pytest.fixture(scope="module")
def with_short_past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with store_with_past(tmp_path_factory.mktemp("short"), 20) as store:
        yield store


@pytest.fixture(scope="module")
def with_long_past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with store_with_past(tmp_path_factory.mktemp("long"), 2000) as store:
        yield store


@pytest.mark.parametrize("query", QUERIES.values(), ids=list(QUERIES))
def test_the_work_does_not_grow_with_the_past(
    with_short_past: Store, with_long_past: Store, query: Callable[[Queries], object]
) -> None:
    """Counted in SQLite's own steps, which no other load on the machine changes."""
    assert num_steps(with_long_past, query) < num_steps(with_short_past, query) + 200


@contextmanager
def store_with_past(folder: Path, num: int) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{folder}/state.db")
    try:
        add_past(store, num)
        yield store
    finally:
        store.close()


def add_past(store: Store, num: int) -> None:
    """A live replica; and ``num`` of each: replicas and revisions that ended, runs, events."""
    with store.begin() as tx:
        tx.add_service(Service("openllm", NOW))
        tx.add_revision("openllm", {}, 1, NOW)
        tx.add_replica(make_replica("live", state=ReplicaState.READY))
        for number in range(num):
            at = NOW - timedelta(days=30) + timedelta(seconds=number)
            state = (ReplicaState.FAILED, ReplicaState.STOPPED)[number % 2]
            tx.add_replica(make_replica(f"r{number}", state=state, created_at=at, changed_at=at))
            revision = tx.add_revision("openllm", {}, 0, at)
            tx.set_phase("openllm", revision.number, RevisionPhase.TERMINATED)
            tx.add_run(Run(str(number), "job", {}, RunState.COMPLETED, at, at))
            tx.add_event(Event(at, "service openllm", "changed", "why", service="openllm"))


def num_steps(store: Store, query: Callable[[Queries], object]) -> int:
    num = 0

    def count() -> int:
        nonlocal num
        num += 1
        return 0

    with store.read() as queries:
        connection = queries._connection
        connection.execute(text("SELECT 1"))
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(count, 10)
        query(queries)
        driver.set_progress_handler(None, 10)
    return num * 10
