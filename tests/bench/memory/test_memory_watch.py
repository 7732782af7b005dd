"""Memory sampling of the processes that listen on a port."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.bench.memory.gpu_memory import GpuMemory, GpuSample
from headrace.bench.memory.memory_watch import MemoryWatch
from headrace.bench.memory.server_process_tree import ProcessTree, find_server

MIB = 2**20
PARENT = """
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 0))
child = subprocess.Popen(
    [sys.executable, "-c", "held = b'x' * (64 * 2**20); print('up', flush=True); input()"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)
child.stdout.readline()
print(listener.getsockname()[1], child.pid, flush=True)
input()
child.communicate()
"""


@pytest.fixture
def server() -> Iterator[tuple[int, int, int]]:
    """A listener whose child holds 64 MiB: (port, pid, child's pid)."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        port, child = process.stdout.readline().split()
        yield int(port), process.pid, int(child)
        process.communicate("\n")


def test_a_server_is_found_by_its_port_with_its_children(server: tuple[int, int, int]) -> None:
    port, pid, child = server
    tree = find_server(f"http://127.0.0.1:{port}")
    assert tree is not None
    assert tree.root_pids == [pid]
    assert tree.pids == {pid, child}
    resident = tree.resident_bytes()
    assert resident is not None
    assert resident > 64 * MIB


def test_remote_and_missing_servers_are_not_found() -> None:
    assert find_server("http://192.0.2.1:8000") is None
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert find_server(f"http://127.0.0.1:{port}") is None


def test_exited_processes_have_no_memory() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert ProcessTree([gone.pid]).resident_bytes() is None


def test_sampling_covers_the_whole_run() -> None:
    with MemoryWatch(ProcessTree([os.getpid()]), every_s=0.01) as watch:
        held = bytearray(os.urandom(1024)) * (64 * 1024)
        deadline = time.monotonic() + 60
        while len(watch.use(0.0).samples) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run_began_at = time.perf_counter()
    use = watch.use(run_began_at)
    times = [sample.at_s for sample in use.samples]
    assert times == sorted(times)
    assert times[0] < 0 <= times[-1]  # the last sample is at the end
    assert use.host_peak_bytes is not None
    assert use.host_peak_bytes >= len(held)
    assert use.pids == [os.getpid()]


class NvmlError(Exception):
    pass


def nvml(processes: dict[int, int], used: list[int], knows_processes: bool = True) -> Any:
    """NVML of a machine with these devices; its processes all run on the first one."""

    def running(device: int) -> list[SimpleNamespace]:
        if not knows_processes:
            raise NvmlError
        if device > 0:
            return []
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in processes.items()]

    return SimpleNamespace(
        NVMLError=NvmlError,
        nvmlDeviceGetCount=lambda: len(used),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda device: b"GPU" if device == 0 else "GPU",
        nvmlDeviceGetComputeRunningProcesses=running,
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(used=used[device]),
    )


def test_gpu_memory_is_per_process_where_available() -> None:
    memory = GpuMemory(nvml({10: 5, 11: 7, 99: 100}, used=[120, 8]))
    assert memory.read({10, 11}) == GpuSample(12, "processes")
    assert memory.names == ["GPU", "GPU"]


@pytest.mark.parametrize("knows_processes", [True, False])
def test_gpu_memory_is_per_device_otherwise(knows_processes: bool) -> None:
    memory = GpuMemory(nvml({99: 100}, [120, 8], knows_processes))
    assert memory.read({10}) == GpuSample(128, "devices")
