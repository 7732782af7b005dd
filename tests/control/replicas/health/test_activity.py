"""With real processes: one that computes, one that waits, one that a signal has stopped."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from headrace.control.processes.process_group import kill_group, process_tree, start_group
from headrace.control.replicas.health.activity import Activity, ActivityReader, activity_between
from headrace.control.resources import ProcessHandle

LISTENS = """\
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
"""
COMPUTES = f"{LISTENS}\nwhile True: pass"
WAITS = f"{LISTENS}\nlistener.accept()"
WINDOW_S = 0.5

Start = Callable[[str], ProcessHandle]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Python programs, each below a shell, and waits until they listen."""
    with ExitStack() as stack:

        def started(program: str) -> ProcessHandle:
            handle = start_group(
                ["/bin/sh", "-c", '"$0" -c "$1"; true', sys.executable, program],
                name="it",
                env=dict(os.environ),
                folder=tmp_path,
                log=tmp_path / "log",
            )
            stack.callback(kill_group, handle)
            deadline = time.monotonic() + 20
            while not (tmp_path / "log").read_text().strip():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            return handle

        yield started


def port_of(folder: Path) -> int:
    return int((folder / "log").read_text())


def work(handle: ProcessHandle, port: int, reader: ActivityReader | None = None) -> Activity:
    reader = reader or ActivityReader()
    earlier = reader.read(process_tree(handle), port, time.monotonic())
    time.sleep(WINDOW_S)  # what is measured is time
    return activity_between(earlier, reader.read(process_tree(handle), port, time.monotonic()))


def test_one_that_computes_is_at_work(start: Start, tmp_path: Path) -> None:
    assert work(start(COMPUTES), port_of(tmp_path)) is Activity.BUSY


def test_one_that_waits_is_idle(start: Start, tmp_path: Path) -> None:
    assert work(start(WAITS), port_of(tmp_path)) is Activity.IDLE


def test_the_one_that_listens_is_what_is_stopped_or_not(start: Start, tmp_path: Path) -> None:
    handle = start(COMPUTES)
    port = port_of(tmp_path)
    shell, server = process_tree(handle)
    os.kill(shell.pid, signal.SIGSTOP)
    assert work(handle, port) is Activity.BUSY
    os.kill(server.pid, signal.SIGSTOP)
    deadline = time.monotonic() + 20
    while psutil.Process(server.pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert work(handle, port) is Activity.STOPPED
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert work(handle, other.getsockname()[1]) is Activity.IDLE
    os.kill(server.pid, signal.SIGCONT)
    assert work(handle, port) is Activity.BUSY


class FakeGpus:
    def __init__(self, devices: Sequence[Mapping[int, float]]) -> None:
        self._devices = devices

    def read(self) -> Sequence[Mapping[int, float]]:
        return self._devices


def test_one_that_waits_for_its_gpu_is_at_work(start: Start, tmp_path: Path) -> None:
    handle = start(WAITS)
    port = port_of(tmp_path)
    server = process_tree(handle)[-1].pid
    for devices, expected in (
        ([{server: 0.0, 1: 90.0}], Activity.IDLE),
        ([{1: 90.0}, {server: 1.0}], Activity.BUSY),
    ):
        assert work(handle, port, ActivityReader(FakeGpus(devices))) is expected


def test_what_is_gone_is_idle(start: Start, tmp_path: Path) -> None:
    handle = start(COMPUTES)
    port = port_of(tmp_path)
    gone = process_tree(handle)
    kill_group(handle)
    psutil.wait_procs(gone, timeout=10)
    queries = ActivityReader().read(gone, port, 0.0)
    assert activity_between(queries, ActivityReader().read(gone, port, 1.0)) is Activity.IDLE
