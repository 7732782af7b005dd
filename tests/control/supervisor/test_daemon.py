"""With Python's own small HTTP server as the daemon."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.control.errors import LaunchError
from headrace.control.processes.ports import find_free_port
from headrace.control.processes.process_group import is_alive
from headrace.control.supervisor.daemon import Daemon, DaemonPlan

DEADLINE_S = 60.0


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
    daemon.wait_healthy(handle, DEADLINE_S)
    assert Daemon(daemon.plan).running() == handle
    assert daemon.stop(timeout_s=DEADLINE_S)
    assert not is_alive(handle)
    assert daemon.running() is None
    assert not daemon.stop(timeout_s=DEADLINE_S)


def test_refuses_an_address_that_is_taken(daemon: Daemon, tmp_path: Path) -> None:
    daemon.wait_healthy(daemon.start(), DEADLINE_S)
    second = Daemon(make_daemon(tmp_path / "second", daemon.plan.listens_on[0][1]).plan)
    with pytest.raises(LaunchError, match=r"Cannot listen on 127.0.0.1 port \d+ .*--port N"):
        second.start()


def test_an_early_end_is_told_with_the_log(tmp_path: Path) -> None:
    daemon = make_daemon(tmp_path, find_free_port(), "--no-such-option")
    with pytest.raises(LaunchError, match=r"exited at startup.*unrecognized arguments"):
        daemon.wait_healthy(daemon.start(), DEADLINE_S)


def test_what_an_earlier_start_said_is_not_told_again(tmp_path: Path) -> None:
    daemon = make_daemon(tmp_path, find_free_port(), "--no-such-option")
    daemon.plan.log.write_text("an error of yesterday\n")
    with pytest.raises(LaunchError, match="unrecognized arguments") as told:
        daemon.wait_healthy(daemon.start(), DEADLINE_S)
    assert "yesterday" not in str(told.value)


@pytest.mark.parametrize(
    ("host", "remedy"),
    [
        ("", "Set it: headrace up --host ADDRESS"),
        ("192.0.2.1", "Use an address of this machine: headrace up --host ADDRESS"),
        ("no such host", "Use an address of this machine: headrace up --host ADDRESS"),
    ],
)
def test_an_address_that_is_none_of_this_machine_is_no_taken_port(
    tmp_path: Path, host: str, remedy: str
) -> None:
    plan = make_daemon(tmp_path, find_free_port()).plan
    with pytest.raises(LaunchError, match=remedy) as told:
        Daemon(replace(plan, listens_on=((host, 8080),))).start()
    assert "Stop what listens there" not in str(told.value)


def test_a_process_that_got_the_pid_later_is_not_it(daemon: Daemon) -> None:
    handle = daemon.start()
    record = daemon.plan.record
    record.write_text(record.read_text().replace(str(handle.pid), str(os.getpid())))
    assert daemon.running() is None
    os.killpg(handle.pid, signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE_S
    while is_alive(handle):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]"])
def test_a_broken_record_is_no_record(daemon: Daemon, text: str) -> None:
    daemon.plan.record.write_text(text)
    assert daemon.running() is None
