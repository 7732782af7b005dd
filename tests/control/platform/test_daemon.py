"""With Python's own small HTTP server as the daemon."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.control.errors import LaunchError
from headrace.control.platform.daemon import Daemon, DaemonPlan
from headrace.control.processes.ports import find_free_port
from headrace.control.processes.process_group import is_alive


def make_daemon(folder: Path, port: int, *options: str) -> Daemon:
    return Daemon(
        DaemonPlan(
            name="pages",
            command=(
                sys.executable,
                "-m",
                "http.server",
                str(port),
                "--bind",
                "127.0.0.1",
                *options,
            ),
            health_url=f"http://127.0.0.1:{port}/",
            listens_on=(("127.0.0.1", port),),
            record=folder / "pages.json",
            log=folder / "pages.log",
        )
    )


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = make_daemon(tmp_path, find_free_port())
    yield daemon
    daemon.stop(timeout_s=0)


def test_is_found_again_by_whoever_asks(daemon: Daemon) -> None:
    assert daemon.running() is None
    handle = daemon.start()
    daemon.wait_healthy(handle, 20)
    assert Daemon(daemon.plan).running() == handle
    assert daemon.stop(timeout_s=10)
    assert not is_alive(handle)
    assert daemon.running() is None
    assert not daemon.stop(timeout_s=10)


def test_refuses_an_address_that_is_taken(daemon: Daemon, tmp_path: Path) -> None:
    daemon.wait_healthy(daemon.start(), 20)
    second = Daemon(make_daemon(tmp_path / "second", daemon.plan.listens_on[0][1]).plan)
    with pytest.raises(LaunchError, match=r"Port \d+ on 127.0.0.1 cannot be used .*--port N"):
        second.start()


def test_an_early_end_is_told_with_the_log(tmp_path: Path) -> None:
    daemon = make_daemon(tmp_path, find_free_port(), "--no-such-option")
    with pytest.raises(LaunchError, match=r"ended at once.*unrecognized arguments"):
        daemon.wait_healthy(daemon.start(), 20)


def test_a_process_that_got_the_pid_later_is_not_it(daemon: Daemon) -> None:
    handle = daemon.start()
    record = daemon.plan.record
    record.write_text(record.read_text().replace(str(handle.pid), str(os.getpid())))
    assert daemon.running() is None
    os.killpg(handle.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while is_alive(handle):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_a_broken_record_is_no_record(daemon: Daemon, text: str) -> None:
    daemon.plan.record.write_text(text)
    assert daemon.running() is None
