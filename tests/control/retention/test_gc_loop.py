"""The chores as the control plane does them, over a real store and real folders."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.control.errors import StoreError
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.layout import Layout
from headrace.control.resources import Event, Replica, ReplicaState, Run, RunState, Service
from headrace.control.retention import gc_loop as module
from headrace.control.retention.folders import Folders
from headrace.control.retention.gc_loop import GcLoop
from headrace.control.retention.policy import LogLimit, RetentionPolicy, RetentionRule
from headrace.control.store.store import Store

MIB = 1024 * 1024
NOW = datetime.now(UTC)
KEEP = RetentionRule(num_always=2, max_num=4, age=timedelta(hours=10))
POLICY = RetentionPolicy(
    replicas=KEEP,
    events=KEEP,
    replica_log=LogLimit(4 * MIB, num_head_bytes=1),
    run_log=LogLimit(8 * MIB, num_head_bytes=1),
    trimmed_log=LogLimit(2 * MIB, num_head_bytes=1),
    own_log=LogLimit(4 * MIB, num_head_bytes=1),
)


class Plane:
    def __init__(self, home: Path) -> None:
        self.layout = Layout(home)
        self.layout.make()
        self.store = Store.open(f"sqlite:///{home}/state.db")
        folders = Folders(self.store, ProcessLauncher(), self.layout)
        self.chores = GcLoop(self.store, folders, self.layout, lambda: NOW, POLICY)
        with self.store.begin() as tx:
            tx.add_service(Service("svc", NOW))
            tx.add_revision("svc", {}, 1, NOW)

    def add_replica(self, name: str, state: ReplicaState, age_h: float, log: bytes = b"") -> Path:
        at = NOW - timedelta(hours=age_h)
        with self.store.begin() as tx:
            tx.add_replica(Replica(name, "svc", 1, state, at, at))
        return self._write_log(self.layout.replicas / name, log)

    def add_run(self, run_id: str, state: RunState, log: bytes) -> Path:
        with self.store.begin() as tx:
            tx.add_run(Run(run_id, "job", {}, state, NOW, NOW))
        return self._write_log(self.layout.runs / run_id, log)

    def replica_ids(self) -> list[str]:
        with self.store.read() as queries:
            return [one.replica_id for one in queries.replicas()]

    def _write_log(self, folder: Path, log: bytes) -> Path:
        folder.mkdir()
        (folder / "log").write_bytes(log)
        return folder


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    plane = Plane(tmp_path)
    yield plane
    plane.store.close()


def room(folder: Path) -> int:
    return (folder / "log").stat().st_blocks * 512


def test_a_crash_loop_leaves_its_newest_and_their_folders(plane: Plane) -> None:
    for number in range(120):
        plane.add_replica(f"svc-1-{number:03}", ReplicaState.FAILED, 200 - number)
    plane.add_replica("svc-1-live", ReplicaState.READY, 300)
    asyncio.run(plane.chores.sweep())
    left = ["svc-1-118", "svc-1-119", "svc-1-live"]
    assert sorted(plane.replica_ids()) == left
    assert sorted(path.name for path in plane.layout.replicas.iterdir()) == left
    asyncio.run(plane.chores.sweep())
    assert sorted(plane.replica_ids()) == left


def test_logs_of_what_is_alive_are_bounded(plane: Plane) -> None:
    log = b"line\n" * (10 * MIB // 5)
    live = plane.add_replica("live", ReplicaState.READY, 1, log)
    gone = plane.add_replica("gone", ReplicaState.FAILED, 0.1, log)
    running = plane.add_run("1", RunState.RUNNING, log)
    own = plane.layout.daemon_log("gateway")
    own.write_bytes(log)
    assert asyncio.run(plane.chores.truncate_logs())
    assert room(live) <= 4 * MIB
    assert 4 * MIB < room(running) <= 8 * MIB
    assert own.stat().st_blocks * 512 <= 4 * MIB
    assert room(gone) >= 10 * MIB
    assert not asyncio.run(plane.chores.truncate_logs())


def test_logs_of_replicas_that_have_been_gone_for_a_while_are_cut(plane: Plane) -> None:
    log = b"line\n" * (10 * MIB // 5)
    old = [plane.add_replica(f"old{number}", ReplicaState.FAILED, 1, log) for number in range(30)]
    new = plane.add_replica("new", ReplicaState.FAILED, 0.1, log)
    asyncio.run(plane.chores.tidy())
    assert max(room(folder) for folder in old) <= 2 * MIB
    assert all((folder / "log").read_bytes().endswith(b"line\n") for folder in old)
    assert room(new) >= 10 * MIB


def test_the_first_pass_bounds_runs_that_are_over(plane: Plane) -> None:
    log = b"line\n" * (10 * MIB // 5)
    over = plane.add_run("1", RunState.COMPLETED, log)
    assert asyncio.run(plane.chores.truncate_logs())
    assert room(over) <= 8 * MIB
    later = plane.add_run("2", RunState.COMPLETED, log)
    assert not asyncio.run(plane.chores.truncate_logs())  # that one was bounded when it ended
    assert room(later) >= 10 * MIB


def test_what_was_said_last_is_bounded_too(plane: Plane) -> None:
    live = plane.add_replica("live", ReplicaState.READY, 1, b"")
    asyncio.run(plane.chores.truncate_logs())
    (live / "log").write_bytes(b"line\n" * (10 * MIB // 5))
    with plane.store.begin() as tx:
        tx.change_replica("live", ReplicaState.READY, ReplicaState.FAILED, NOW)
    asyncio.run(plane.chores.truncate_logs())
    assert room(live) <= 4 * MIB


def test_ones_trouble_is_told_once_and_keeps_no_other_from_being_done(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> list[str]:
        raise StoreError("the database is away")

    with plane.store.begin() as tx:
        for number in range(9):
            tx.add_event(Event(NOW, "service svc", str(number), "why", service="svc"))
    with monkeypatch.context() as patched:
        patched.setattr(module, "prune_replicas", fail)
        asyncio.run(plane.chores.sweep())
        asyncio.run(plane.chores.sweep())
    told = [record.getMessage() for record in caplog.records]
    assert told == ["old replicas: StoreError: the database is away"]
    with plane.store.read() as queries:
        assert [event.what for event in queries.events()] == list("5678")
    caplog.set_level("INFO")
    asyncio.run(plane.chores.sweep())
    assert caplog.records[-1].getMessage() == "old replicas: recovered"


def test_it_goes_on_until_it_is_cancelled(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PASS_S", 0.001)
    monkeypatch.setattr(module, "_LOG_PASS_S", 0.001)

    async def scenario() -> None:
        running = asyncio.create_task(plane.chores.run())
        async with asyncio.timeout(20):
            live = plane.add_replica("live", ReplicaState.READY, 1, b"x" * (10 * MIB))
            for number in range(3):
                plane.add_replica(f"a{number}", ReplicaState.FAILED, 20 - number)
            while "a0" in plane.replica_ids():
                await asyncio.sleep(0)
            plane.add_replica("b", ReplicaState.FAILED, 15)
            while "a1" in plane.replica_ids():
                await asyncio.sleep(0)
            while room(live) > 4 * MIB:
                await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled()

    asyncio.run(scenario())
