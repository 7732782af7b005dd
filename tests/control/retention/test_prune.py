"""Rows go by the policy, whatever there is; what is alive, and the newest, never does."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.control.resources import Event, Replica, ReplicaState, Run, RunState, Service
from headrace.control.retention import prune
from headrace.control.retention.policy import RetentionRule
from headrace.control.retention.prune import prune_events, prune_replicas
from headrace.control.store.store import Store

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEEP = RetentionRule(num_always=2, max_num=5, age=timedelta(hours=10))
NUM_REVISIONS = 2


@contextmanager
def a_store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"sqlite:///{folder}/state.db")
        try:
            yield store
        finally:
            store.close()


def deploy(store: Store) -> None:
    with store.begin() as tx:
        tx.add_service(Service("svc", NOW))
        for _ in range(NUM_REVISIONS):
            tx.add_revision("svc", {}, 1, NOW)


def add_replica(store: Store, number: int, state: ReplicaState, age_h: float, name: str) -> None:
    at = NOW - timedelta(hours=age_h)
    with store.begin() as tx:
        tx.add_replica(Replica(name, "svc", number, state, at - timedelta(hours=1), at))


def replicas(store: Store) -> list[Replica]:
    with store.read() as queries:
        return queries.replicas()


def forget_all(store: Store) -> list[str]:
    return [replica_id for ids in prune_replicas(store, NOW, KEEP) for replica_id in ids]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, NUM_REVISIONS), st.sampled_from(ReplicaState), st.integers(0, 20)),
        max_size=25,
    )
)
def test_what_is_alive_and_the_newest_stay(drawn: list[tuple[int, ReplicaState, int]]) -> None:
    with a_store() as store:
        deploy(store)
        for index, (number, state, age_h) in enumerate(drawn):
            add_replica(store, number, state, age_h, f"svc-{number}-{index:02}")
        before = replicas(store)
        forgotten = forget_all(store)
        after = replicas(store)
        assert {one.replica_id for one in before} - {one.replica_id for one in after} == set(
            forgotten
        )
        assert [one for one in before if not one.is_gone] == [
            one for one in after if not one.is_gone
        ]
        for number in range(1, NUM_REVISIONS + 1):
            gone = [one for one in before if one.revision == number and one.is_gone]
            gone.sort(key=lambda one: (one.changed_at, one.created_at, one.replica_id))
            left = {one.replica_id for one in after}
            kept = [one for one in gone if one.replica_id in left]
            assert kept[-KEEP.num_always :] == gone[-KEEP.num_always :]
            assert len(kept) <= KEEP.max_num
            for one in kept[: -KEEP.num_always]:
                assert NOW - one.changed_at <= KEEP.age
        assert forget_all(store) == []


def test_replicas_go_in_batches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "_MAX_NUM_REPLICAS", 3)
    deploy(store)
    for number in range(10):
        add_replica(store, 1, ReplicaState.FAILED, 100 - number, f"svc-1-{number}")
    add_replica(store, 1, ReplicaState.READY, 200, "svc-1-old")
    assert next(prune_replicas(store, NOW, KEEP)) == ["svc-1-0", "svc-1-1", "svc-1-2"]
    assert len(forget_all(store)) == 5
    assert [one.replica_id for one in replicas(store)] == ["svc-1-old", "svc-1-8", "svc-1-9"]


def test_a_replica_that_is_not_gone_is_not_removed_even_if_told(store: Store) -> None:
    deploy(store)
    add_replica(store, 1, ReplicaState.DRAINING, 100, "svc-1-a")
    add_replica(store, 1, ReplicaState.STOPPED, 100, "svc-1-b")
    with store.begin() as tx:
        assert tx.remove_replicas(["svc-1-a", "svc-1-b", "svc-1-c"]) == 1
    assert [one.replica_id for one in replicas(store)] == ["svc-1-a"]


def test_events_are_counted_by_service_and_a_runs_stay(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "_MAX_NUM_EVENTS", 4)
    long_ago, lately = NOW - timedelta(days=9), NOW - timedelta(minutes=1)
    with store.begin() as tx:
        tx.add_run(Run("1", "job", {}, RunState.COMPLETED, long_ago, long_ago))
        for number in range(12):
            tx.add_event(Event(lately, "service busy", f"busy {number}", "", service="busy"))
            tx.add_event(Event(long_ago, "run 1", f"run {number}", "", run_id="1"))
            tx.add_event(Event(long_ago, "token x", f"none {number}", ""))
        for number in range(3):
            tx.add_event(Event(long_ago, "service quiet", f"quiet {number}", "", service="quiet"))
    with store.read() as queries:
        last_id = queries.events(limit=1)[0].event_id
    assert sum(prune_events(store, NOW, KEEP)) == 7 + 10 + 1
    with store.read() as queries:
        left = [event.what for event in queries.events(limit=1000)]
    assert [what for what in left if what.startswith("busy")] == [f"busy {n}" for n in range(7, 12)]
    assert [what for what in left if what.startswith("none")] == ["none 10", "none 11"]
    assert [what for what in left if what.startswith("quiet")] == ["quiet 1", "quiet 2"]
    assert [what for what in left if what.startswith("run")] == [f"run {n}" for n in range(12)]
    # Whoever follows events by their ids is never given an old id for a new event.
    with store.begin() as tx:
        tx.remove_events([event.event_id or 0 for event in tx.events(limit=1000)])
        tx.add_event(Event(NOW, "token y", "created", ""))
        [event] = tx.events()
    assert event.event_id == (last_id or 0) + 1
