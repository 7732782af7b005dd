"""A group is gone when all that it held is free again."""

import signal
import socket
import sys
import time
from pathlib import Path

from headrace.control.processes.ports import find_free_port
from headrace.control.processes.process_group import is_alive, signal_group, start_group

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
