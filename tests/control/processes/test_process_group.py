"""A group is gone when all that it held is free again, and leaves no zombie."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from headrace.control.processes.ports import find_free_port
from headrace.control.processes.process_group import (
    is_alive,
    kill_group,
    process_tree,
    process_trees,
    signal_group,
    start_group,
)
from headrace.control.resources import ProcessHandle

PROGRAM = """
import socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
for _ in range(100):
    threading.Thread(target=time.sleep, args=(600,)).start()
print("begun", flush=True)
"""


def test_its_port_is_free_as_soon_as_it_is_gone(tmp_path: Path) -> None:
    for turn in range(5):
        port = find_free_port()
        log = tmp_path / f"log-{turn}"
        command = [sys.executable, "-c", PROGRAM, str(port)]
        handle = start_group(command, name="x", env={}, folder=tmp_path, log=log)
        deadline = time.monotonic() + 60
        while log.read_text() != "begun\n":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        signal_group(handle, signal.SIGKILL)
        while is_alive(handle):
            assert time.monotonic() < deadline
        socket.create_server(("127.0.0.1", port)).close()


def test_many_trees_are_those_of_one_by_one(tmp_path: Path) -> None:
    """With a child that has a session of its own."""
    handles: dict[str, ProcessHandle] = {
        name: start_group(
            ["/bin/sh", "-c", "setsid sleep 600 & sleep 600 & wait"],
            name=name,
            env={},
            folder=tmp_path,
            log=None,
        )
        for name in "ab"
    }
    gone = ProcessHandle(pid=handles["a"].pid, started_at=handles["a"].started_at - 60)
    try:
        deadline = time.monotonic() + 60
        while any(len(process_tree(handle)) < 3 for handle in handles.values()):
            assert time.monotonic() < deadline
        trees = process_trees({**handles, "gone": gone})
        for name, handle in handles.items():
            assert sorted(one.pid for one in trees[name]) == sorted(
                one.pid for one in process_tree(handle)
            )
            assert trees[name][0].pid == handle.pid
        assert trees["gone"] == []
    finally:
        for handle in handles.values():
            for process in process_tree(handle)[1:]:
                process.kill()
            kill_group(handle)


def test_a_killed_group_is_reaped_without_a_check_whether_it_is_alive(
    tmp_path: Path,
) -> None:
    handle = start_group(["sleep", "600"], name="x", env={}, folder=tmp_path, log=None)
    kill_group(handle)
    with pytest.raises(ChildProcessError):
        os.waitpid(handle.pid, os.WNOHANG)
    kill_group(handle)  # once it is gone, nothing happens
