"""Every failed start is a crash: it is shown, and backs off."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.control.errors import StoreError
from headrace.control.launchers.base import LaunchPlan
from headrace.control.launchers.process import ProcessLauncher
from headrace.control.processes.process_group import is_alive
from headrace.control.replicas import start
from headrace.control.replicas.revision_status import RevisionStatus, revision_status
from headrace.control.resources import ProcessHandle, ReplicaState
from headrace.control.store.store import Store
from headrace.testing.processes.control_plane import ControlPlane

PASS_S = 0.5
MINUTE = 60.0
MAX_NUM_STARTS = 8
"""In the first minute, by a backoff of 0, 1, 2, 4, 8, 16 and 32 s."""


def run(home: Path, scenario: Callable[[ControlPlane], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with ControlPlane(home) as plane:
            await scenario(plane)

    asyncio.run(whole())


async def run_for(plane: ControlPlane, duration_s: float) -> None:
    """Pass after pass, as often as the controller does them, by the fake clock."""
    for _ in range(int(duration_s / PASS_S)):
        await plane.controller.run_pass()
        plane.clock.advance(PASS_S)


def num_events(plane: ControlPlane, what: str) -> int:
    return sum(f" {what}: " in event for event in plane.events())


def folders(plane: ControlPlane) -> list[str]:
    root = plane.home / "replicas"
    return [path.name for path in root.iterdir()] if root.is_dir() else []


class FailingLauncher(ProcessLauncher):
    """Fails to start a plan with the variable BAD."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def start(self, plan: LaunchPlan) -> ProcessHandle:
        if "BAD" in plan.env:
            plan.folder.mkdir(parents=True, exist_ok=True)
            raise self.error
        return super().start(plan)


UNLAUNCHABLE: dict[str, dict[str, Any]] = {
    "NUL in a value": {"env": {"X": "a\0b"}},
    "a lone surrogate in a value": {"env": {"X": "\ud800"}},
    "an environment that is too long": {"env": {"X": "x" * 200_000}},
    "a long environment of short values": {
        "env": {f"X{number}": "x" * 100_000 for number in range(25)}
    },
    "NUL in a command": {"run": "echo a\0b"},
    "a lone surrogate in a command": {"run": "echo \ud800"},
    "a command that is too long": {"run": f"true {'x' * 200_000}"},
    "NUL in a workdir": {"run": [{"command": "true", "workdir": "/a\0b"}]},
    "a workdir that is too long": {"run": [{"command": "true", "workdir": f"/{'x' * 300}"}]},
    "a folder's name that is too long": {"imports": {f"/{'x' * 300}": {"artifact": {"name": "a"}}}},
    "an import that is not there": {"imports": {"/a": {"path": "/no/such/folder"}}},
    "a repository that is not there": {"imports": {"/a": {"git": {"url": "/no/such/repository"}}}},
    "a secret that is not there": {"env": {"X": {"secret": "missing"}}},
    "a key of another version": {"from_another_version": True},
}
FAILURES: list[BaseException] = [
    BlockingIOError(11, "Resource temporarily unavailable"),
    MemoryError(),
    OSError(28, "No space left on device"),
    PermissionError(13, "Permission denied", "/bin/sh"),
    RuntimeError("can't start new thread"),
    KeyError("unexpected"),
]


async def fails_with_backoff(plane: ControlPlane, revision: int) -> None:
    """Starts that fail back off, leave nothing behind and show their cause; others go on."""
    good = plane.add_revision()
    await run_for(plane, MINUTE)
    replicas = plane.replicas(revision=revision)
    assert 3 <= len(replicas) <= MAX_NUM_STARTS
    assert {replica.state for replica in replicas} == {ReplicaState.FAILED}
    assert num_events(plane, "failed") == len(replicas)
    assert set(folders(plane)) <= {one.replica_id for one in plane.replicas(revision=good)}
    with plane.store.read() as queries:
        row = queries.revision("svc", revision)
    assert row is not None
    shown = revision_status(row, replicas)
    assert shown.status is RevisionStatus.FAILED
    assert shown.cause
    await plane.run_until(lambda: len(plane.ready(good)) == 1)


@pytest.mark.parametrize("spec", UNLAUNCHABLE.values(), ids=UNLAUNCHABLE)
def test_what_cannot_be_launched_crashes_with_backoff(tmp_path: Path, spec: dict[str, Any]) -> None:
    async def scenario(plane: ControlPlane) -> None:
        await fails_with_backoff(plane, plane.add_revision(**spec))

    run(tmp_path, scenario)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
def test_a_start_may_fail_in_any_way(tmp_path: Path, error: BaseException) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.launcher = FailingLauncher(error)
        await plane.take_over()
        await fails_with_backoff(plane, plane.add_revision(env={"BAD": "1"}))

    run(tmp_path, scenario)


def test_a_machine_without_free_ports_fails_starts_with_backoff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_port(*args: object, **options: object) -> int:
        raise OSError(24, "Too many open files")

    async def scenario(plane: ControlPlane) -> None:
        monkeypatch.setattr(start, "find_free_port", no_port)
        plane.add_revision()
        await run_for(plane, MINUTE)
        assert len(plane.replicas(ReplicaState.FAILED)) <= MAX_NUM_STARTS
        monkeypatch.undo()
        plane.clock.advance(MINUTE)
        await plane.run_until(lambda: len(plane.ready()) == 1)

    run(tmp_path, scenario)


@contextmanager
def a_file_in_place_of(folder: Path) -> Any:
    folder.write_text("")
    yield
    folder.unlink()


def test_a_folder_that_cannot_be_made_fails_starts_with_backoff(tmp_path: Path) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision()
        with a_file_in_place_of(tmp_path / "replicas"):
            await run_for(plane, MINUTE)
        failed = plane.replicas(ReplicaState.FAILED)
        assert len(failed) <= MAX_NUM_STARTS
        assert "replicas" in (failed[-1].cause or "")
        plane.clock.advance(MINUTE)
        await plane.run_until(lambda: len(plane.ready()) == 1)

    run(tmp_path, scenario)


class UnwritableStore(Store):
    """Cannot be written to while ``is_away``."""

    is_away = False

    def begin(self) -> Any:
        if self.is_away:
            raise StoreError("The database cannot be used.")
        return super().begin()


class StoreLosingLauncher(FailingLauncher):
    """The database becomes unavailable when the start fails."""

    def __init__(self, store: UnwritableStore) -> None:
        super().__init__(RuntimeError("the first cause"))
        self._store = store

    def start(self, plan: LaunchPlan) -> ProcessHandle:
        self._store.is_away = True
        return super().start(plan)


def test_a_failure_that_cannot_be_stored_yet_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.store.close()
        plane.store = store = UnwritableStore.open(f"sqlite:///{tmp_path}/state.db")
        assert isinstance(store, UnwritableStore)
        plane.launcher = StoreLosingLauncher(store)
        await plane.take_over()
        plane.add_revision(env={"BAD": "1"})
        with caplog.at_level(logging.CRITICAL):
            await run_for(plane, 2)
        assert len(plane.replicas(ReplicaState.PENDING)) == 1
        store.is_away = False
        await plane.controller.run_pass()
        [failed] = plane.replicas(ReplicaState.FAILED)
        assert failed.cause == "RuntimeError: the first cause"

    run(tmp_path, scenario)


def test_a_start_that_the_control_plane_did_not_finish_is_done_again(
    tmp_path: Path,
) -> None:
    async def scenario(plane: ControlPlane) -> None:
        plane.add_revision()
        await plane.run_until(lambda: len(plane.ready()) == 1)
        [first] = plane.ready()
        assert first.process is not None
        with plane.store.begin() as tx:
            tx._connection.exec_driver_sql(
                "UPDATE replicas SET state = 'pending', pid = NULL, process_started_at = NULL"
            )
        await plane.take_over()
        await plane.run_until(lambda: len(plane.ready()) == 1)
        assert len(plane.replicas(ReplicaState.STOPPED)) == 1
        await plane.run_until(lambda: not is_alive(first.process))

    run(tmp_path, scenario)
