"""A supervisor that cannot write keeps the platform running."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.control.errors import LaunchError
from headrace.control.layout import Layout, UpOptions
from headrace.control.processes.ports import find_free_port
from headrace.control.processes.process_group import is_alive
from headrace.control.resources import ProcessHandle
from headrace.control.supervisor.daemon import Daemon, DaemonPlan
from headrace.control.supervisor.daemons import Daemons
from headrace.testing.processes.platform_process import PlatformProcess

DEADLINE_S = 60.0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pages(folder: Path, name: str) -> DaemonPlan:
    """Python's own small HTTP server in place of a part of the platform."""
    port = find_free_port()
    return DaemonPlan(
        name=name,
        command=(sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"),
        health_url=f"http://127.0.0.1:{port}/",
        listens_on=(("127.0.0.1", port),),
        record=folder / f"{name}.json",
        log=folder / "logs" / f"{name}.log",
    )


class Watched:
    """A platform of two such servers, watched in a thread; every message fails."""

    def __init__(self, folder: Path) -> None:
        (folder / "logs").mkdir()
        self.folder = folder
        self.pair = Daemons(Layout(folder), UpOptions())
        self.daemons = [Daemon(pages(folder, name)) for name in ("one", "two")]
        self.pair._daemons = (self.daemons[0], self.daemons[1])
        self.said: list[str] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(
            target=self.pair.watch, args=(self._fail, self._is_over.is_set)
        )

    def _fail(self, line: str) -> None:
        self.said.append(line)
        raise OSError(28, "No space left on device")

    def __enter__(self) -> "Watched":
        self._thread.start()
        self.wait_running()
        return self

    def __exit__(self, *args: object) -> None:
        self._is_over.set()
        self._thread.join()
        for daemon in self.daemons:
            daemon.stop(0)

    def wait_running(self, *but_not: ProcessHandle) -> list[ProcessHandle]:
        def handles() -> list[ProcessHandle]:
            found = [daemon.running() for daemon in self.daemons]
            return [one for one in found if one is not None and one not in but_not]

        wait_until(lambda: len(handles()) == 2)
        return handles()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path) as watched:
        yield watched


def test_both_are_restarted_although_messages_fail(watched: Watched) -> None:
    before = watched.wait_running()
    for handle in before:
        os.killpg(handle.pid, signal.SIGKILL)
    assert len(watched.wait_running(*before)) == 2
    assert watched.said


def test_a_process_without_a_record_is_watched(watched: Watched) -> None:
    daemon = watched.daemons[0]
    before = watched.wait_running()
    record = daemon.plan.record
    record.unlink()
    (record / "in the way").mkdir(parents=True)
    os.killpg(before[0].pid, signal.SIGKILL)
    [new] = [one for one in watched.wait_running(before[0]) if one not in before]
    assert watched.wait_running()[0] == new  # it is not started a second time
    (record / "in the way").rmdir()
    record.rmdir()
    wait_until(lambda: Daemon(daemon.plan).running() == new)
    wait_until(lambda: not is_alive(before[0]))  # nobody else knows it, without its record


def test_without_a_writable_log_it_runs_without_one(watched: Watched) -> None:
    before = watched.wait_running()
    log = watched.daemons[0].plan.log
    log.unlink()
    log.mkdir()
    os.killpg(before[0].pid, signal.SIGKILL)
    watched.wait_running(before[0])
    assert not list(log.iterdir())


def test_an_unexpected_error_is_reported_once_and_the_loop_goes_on(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = watched.daemons
    num_looks = [0]

    def fail() -> ProcessHandle | None:
        num_looks[0] += 1
        raise RuntimeError("unexpected")

    before = second.running()
    assert before is not None
    monkeypatch.setattr(first, "running", fail)
    os.killpg(before.pid, signal.SIGKILL)
    wait_until(lambda: num_looks[0] > 3 and second.running() not in (None, before))
    assert [line for line in watched.said if "unexpected" in line] == [
        "Cannot supervise the one: RuntimeError: unexpected"
    ]
    monkeypatch.undo()


def test_a_start_that_requires_its_files_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    daemon = Daemon(pages(tmp_path, "one"))
    daemon.plan.record.mkdir()
    with pytest.raises(LaunchError, match="Cannot start the one"):
        daemon.start()
    url = daemon.plan.health_url
    wait_until(lambda: not any(url.split(":")[2][:-1] in line for line in _command_lines()))


def _command_lines() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_text(errors="replace").replace("\0", " "))
        except OSError:
            continue
    return lines


@pytest.mark.slow
def test_a_platform_recovers_from_a_full_disk(tmp_path: Path) -> None:
    """A real platform on a disk of its own, whose processes die while it is full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("needs mount")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root to mount a disk")
    try:
        _lose_both_parts_on_a_full_disk(disk)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _lose_both_parts_on_a_full_disk(disk: Path) -> None:
    with PlatformProcess(disk / "home", "--no-containers", cwd=disk.parent) as platform:
        filler = disk / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(b"x" * 65536)
                    file.flush()
            except OSError:
                pass
        supervisor = platform.pid_of("supervisor")
        pids = [platform.pid_of(name) for name in ("gateway", "control")]
        for pid in pids:
            os.killpg(pid, signal.SIGKILL)

        def answers() -> bool:
            try:
                with urllib.request.urlopen(f"{platform.admin_url}/health", timeout=30) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        wait_until(answers)  # the gateway needs no disk
        assert is_alive_pid(supervisor)
        filler.unlink()
        platform.wait_until(platform.api_answers, "the API answers")
        assert platform.pid_of("supervisor") == supervisor
        assert {platform.pid_of(name) for name in ("gateway", "control")}.isdisjoint(pids)


def is_alive_pid(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
