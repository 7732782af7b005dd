"""Folders go with what they were of; nothing goes that is alive, or only linked."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.control.launchers.base import LaunchPlan, Step
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.layout import Layout
from headrace.control.resources import Replica, ReplicaState, Service
from headrace.control.retention import folders as module
from headrace.control.retention.folders import Folders
from headrace.control.retention.policy import RetentionPolicy
from headrace.control.store.store import Store

NOW = datetime.now(UTC)
POLICY = RetentionPolicy()
LONG_AGO = NOW - timedelta(days=30)


class Home:
    """A store and folders as replicas leave them."""

    def __init__(self, path: Path) -> None:
        self.layout = Layout(path)
        self.layout.make()
        self.store = Store.open(f"sqlite:///{path}/state.db")
        self.launcher = ProcessLauncher()
        self.folders = self.new_folders()
        with self.store.begin() as tx:
            tx.add_service(Service("svc", NOW))
            tx.add_revision("svc", {}, 1, NOW)

    def new_folders(self) -> Folders:
        return Folders(self.store, self.launcher, self.layout)

    def add(self, name: str, state: ReplicaState, age: timedelta) -> Path:
        at = NOW - age
        with self.store.begin() as tx:
            tx.add_replica(Replica(name, "svc", 1, state, at, at))
        return self.add_folder(name, at)

    def add_folder(self, name: str, touched_at: datetime = NOW) -> Path:
        folder = self.layout.replicas / name
        (folder / "root" / "data").mkdir(parents=True)
        (folder / "root" / "data" / "weights").write_text("large")
        (folder / "log").write_text("last words")
        at_s = touched_at.timestamp()
        for path in (folder / "log", folder / "root", folder):
            os.utime(path, (at_s, at_s))
        return folder

    def trim_replicas(self) -> None:
        while self.folders.trim_replicas(NOW, POLICY):
            pass


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.store.close()


def test_working_copies_go_when_their_replica_has_been_gone_for_a_while(home: Home) -> None:
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    failed = home.add("failed", ReplicaState.FAILED, hour)
    stopped = home.add("stopped", ReplicaState.STOPPED, hour)
    lately = home.add("lately", ReplicaState.FAILED, minute)
    live = home.add("live", ReplicaState.READY, 100 * hour)
    home.trim_replicas()
    for folder in (failed, stopped):
        assert sorted(path.name for path in folder.iterdir()) == ["log"]
    for folder in (lately, live):
        assert (folder / "root" / "data" / "weights").exists()


def test_what_an_import_links_stays(home: Home, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("mine")
    folder = home.add("failed", ReplicaState.FAILED, timedelta(hours=1))
    (folder / "root" / "model").symlink_to(model)
    home.trim_replicas()
    assert not (folder / "root").exists()
    assert (model / "weights").read_text() == "mine"
    (folder / "model").symlink_to(model)
    home.folders.remove_replicas(["failed"])
    assert not folder.exists()
    assert (model / "weights").read_text() == "mine"


def test_each_working_copy_is_looked_at_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_NUM_REPLICAS", 2)
    old = [home.add(f"r{n}", ReplicaState.FAILED, timedelta(hours=1)) for n in range(5)]
    home.trim_replicas()
    assert not any((folder / "root").exists() for folder in old)
    (old[0] / "root").mkdir()
    late = home.add("late", ReplicaState.FAILED, timedelta(minutes=20))
    home.trim_replicas()
    assert (old[0] / "root").exists()  # the past is not gone through again and again
    assert not (late / "root").exists()
    home.folders = home.new_folders()  # but once by each control plane
    home.trim_replicas()
    assert not (old[0] / "root").exists()


def test_nothing_goes_in_which_something_runs(home: Home) -> None:
    folder = home.add("undead", ReplicaState.FAILED, timedelta(days=30))
    plan = LaunchPlan(name="undead", steps=(Step("exec sleep 60"),), folder=folder)
    handle = home.launcher.start(plan)
    try:
        home.trim_replicas()
        home.folders.remove_replicas(["undead"])
        assert (folder / "root").exists()
        assert (folder / "log").exists()
    finally:
        home.launcher.kill("undead", handle)


def test_the_sweep_takes_what_nobody_knows_and_nobody_touched(home: Home) -> None:
    known = home.add("known", ReplicaState.FAILED, timedelta(days=30))
    live = home.add("live", ReplicaState.READY, timedelta(days=30))
    stray = home.add_folder("stray", LONG_AGO)
    fresh = home.add_folder("fresh", NOW)
    written = home.add_folder("written", LONG_AGO)
    os.utime(written / "log")
    run = home.layout.runs / "369367189168"
    run.mkdir()
    os.utime(run, (0, 0))
    home.folders.sweep(NOW, POLICY)
    assert not stray.exists()
    for folder in (known, live, fresh, written, run):
        assert folder.exists()
    home.folders.sweep(NOW + timedelta(days=30), POLICY)
    assert not fresh.exists()
    assert known.exists()


def test_there_may_be_no_folder_at_all(home: Home, tmp_path: Path) -> None:
    home.folders.remove_replicas(["never-started"])
    home.folders.remove_run("1")
    home.layout.replicas.rmdir()
    home.folders.sweep(NOW, replace(POLICY, stray_age=timedelta()))


def test_what_cannot_be_removed_is_told_once(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    folder = home.layout.replicas / "file"
    folder.write_text("no folder, which rmtree refuses")
    home.folders.remove_replicas(["file"])
    home.folders.remove_replicas(["file"])
    [record] = caplog.records
    assert "cannot be removed" in record.getMessage()
