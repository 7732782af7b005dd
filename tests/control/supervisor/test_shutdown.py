"""What runs is ended with the grace that its own manifest gives it, all at the same time."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.control.errors import StoreError
from headrace.control.launchers.base import LaunchPlan, Step
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.layout import Layout, UpOptions
from headrace.control.resources import ProcessHandle, Replica, ReplicaState, Run, RunState, Service
from headrace.control.store.store import Store
from headrace.control.supervisor import shutdown
from headrace.control.supervisor.shutdown import stop_processes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS = UpOptions(containers="never")
DEAF = "trap '' TERM; touch up; while :; do sleep 0.05; done"
QUICK = "trap 'exit 0' TERM; touch up; while :; do sleep 0.05; done"


@dataclass
class Home:
    """Processes in a home, with or without rows in its store."""

    layout: Layout
    started: dict[str, ProcessHandle] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def start(self, name: str, script: str, *, is_run: bool = False) -> ProcessHandle:
        folder = (self.layout.runs if is_run else self.layout.replicas) / name
        handle = ProcessLauncher().start(LaunchPlan(name, (Step(script),), folder))
        self.started[name] = handle
        deadline = time.monotonic() + 20
        while not (folder / "up").exists():
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.01)
        return handle

    def running(self) -> list[str]:
        launcher = ProcessLauncher()
        return [name for name, one in self.started.items() if launcher.adopt(name, one)]

    def stop(self) -> float:
        """Returns the seconds that it took."""
        began_s = time.monotonic()
        assert stop_processes(self.layout, OPTIONS, self.said.append)
        return time.monotonic() - began_s


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(Layout(tmp_path))
    home.layout.make()
    yield home
    for name, handle in home.started.items():
        ProcessLauncher().kill(name, handle)


def add_replica(store: Store, name: str, grace: str, process: ProcessHandle) -> None:
    with store.begin() as tx:
        if tx.service("svc") is None:
            tx.add_service(Service("svc", NOW))
        spec = {"run": "x", "ports": [3000], "grace_period": grace}
        number = tx.add_revision("svc", spec, 1, NOW).number
        tx.add_replica(Replica(name, "svc", number, ReplicaState.READY, NOW, NOW, process=process))


def test_each_gets_its_own_grace_and_all_at_once(home: Home) -> None:
    store = Store.open(f"sqlite:///{home.layout.database}")
    for name, script, grace in (
        ("svc-1-quick", QUICK, "60s"),
        ("svc-2-short", DEAF, "1s"),
        ("svc-3-long", DEAF, "3s"),
    ):
        add_replica(store, name, grace, home.start(name, script))
    job = home.start("000000000001", DEAF, is_run=True)
    with store.begin() as tx:
        spec = {"name": "job", "run": "x", "grace_period": "2s"}
        tx.add_run(Run("000000000001", "job", spec, RunState.RUNNING, NOW, NOW, process=job))

    took_s = home.stop()

    assert 3.0 <= took_s < 8.0  # one after another they would take as long as the quick one may
    assert home.running() == []
    killed = [line.split(":")[0] for line in home.said if line.startswith("Killing ")]
    assert killed == ["Killing svc-2-short", "Killing 000000000001", "Killing svc-3-long"]
    assert home.said[0] == "Stopping 3 replicas and 1 run ..."
    waits = next(line for line in home.said if line.startswith("Waiting for "))
    assert "svc-3-long, 000000000001 (at most " in waits
    with store.read() as tx:
        assert tx.replicas(live_only=True) == []
        run = tx.run("000000000001")
        assert run is not None
        assert run.state is RunState.TERMINATING
    store.close()


def test_what_the_store_does_not_know_is_ended_too(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "_UNKNOWN_GRACE_S", 0.5)
    Store.open(f"sqlite:///{home.layout.database}").close()
    home.start("svc-1-lost", DEAF)
    home.stop()
    assert home.running() == []


def test_a_store_that_cannot_be_read_keeps_nothing_running(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "_UNKNOWN_GRACE_S", 0.5)
    home.layout.database.write_text("this is no database\n" * 100)
    home.start("svc-1-lost", DEAF)
    with pytest.raises(StoreError):
        home.stop()
    assert home.running() == []
    assert any("grace period of 0.5 s" in line for line in home.said)
