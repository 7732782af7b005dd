import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pytest

from headrace.control.devices.gpu_usage import open_nvml
from headrace.control.processes.process_group import (
    kill_group,
    process_tree,
    process_trees,
    start_group,
)
from headrace.control.processes.process_usage import (
    ProcessUsageReader,
    machine_allowance,
    processor_times,
    spent_between,
)
from headrace.control.resources import ProcessHandle

DEADLINE_S = 60.0
BUSY = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"


@pytest.fixture
def busy_group(tmp_path: Path) -> Iterator[ProcessHandle]:
    """A parent that sleeps and a child that is busy."""
    handle = start_group(
        [sys.executable, "-c", BUSY], name="busy", env={}, folder=tmp_path, log=tmp_path / "log"
    )
    yield handle
    kill_group(handle)


class FakeGpus:
    """Two GPUs; what runs on them is set by the test."""

    def __init__(self) -> None:
        self.devices: Sequence[Mapping[int, float]] = ()

    def read(self) -> Sequence[Mapping[int, float]]:
        return self.devices


def usage_reader(gpus: FakeGpus | None = None) -> ProcessUsageReader:
    return ProcessUsageReader(process_trees, gpus)


def wait_for_child(handle: ProcessHandle) -> list[int]:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        pids = [process.pid for process in process_tree(handle)]
        if len(pids) == 2:
            return pids
        time.sleep(0.01)
    raise AssertionError("the child did not start")


def wait_until_it_has_worked(handle: ProcessHandle, at_least_s: float) -> None:
    """Processor time, from now on."""
    deadline = time.monotonic() + DEADLINE_S
    start_s = processor_time(handle)
    while processor_time(handle) < start_s + at_least_s:
        assert time.monotonic() < deadline, "the child does no work"
        time.sleep(0.01)


def processor_time(handle: ProcessHandle) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in process_tree(handle))


def test_the_whole_tree_counts(busy_group: ProcessHandle) -> None:
    pids = wait_for_child(busy_group)
    gpus = FakeGpus()
    gpus.devices = [{pids[0]: 10.0, pids[1]: 30.0, 1: 60.0}, {1: 99.0}]
    reader = usage_reader(gpus)
    began_s = time.monotonic()
    first = reader.read({"a": busy_group}, began_s)["a"]
    assert first.num_busy_cores is None
    assert first.num_bytes > 1_000_000
    assert first.gpu_percent == 40.0  # of the one GPU that it is on

    wait_until_it_has_worked(busy_group, 0.5)
    now_s = max(time.monotonic(), began_s + 0.5)
    measured = reader.read({"a": busy_group}, now_s)["a"].num_busy_cores
    at_most_s = processor_time(busy_group)
    assert measured is not None
    assert 0.49 <= measured * (now_s - began_s) <= at_most_s + 0.01


def test_readings_in_quick_succession_measure_from_the_same_start(
    busy_group: ProcessHandle,
) -> None:
    wait_for_child(busy_group)
    reader = usage_reader()
    reader.read({"a": busy_group}, 0.0)
    wait_until_it_has_worked(busy_group, 0.2)
    # A tick of 10 ms in a fraction of a millisecond would read as dozens of cores.
    assert reader.read({"a": busy_group}, 0.0001)["a"].num_busy_cores is None
    measured = reader.read({"a": busy_group}, 100.0)["a"].num_busy_cores
    assert measured is not None
    assert 0.0019 <= measured < 1.0
    assert reader.read({"a": busy_group}, 100.1)["a"].num_busy_cores == measured


def test_what_is_gone_is_left_out(busy_group: ProcessHandle) -> None:
    gone = ProcessHandle(busy_group.pid, busy_group.started_at - 1000.0)
    assert usage_reader().read({"a": gone}, 0.0) == {}


def test_without_gpus_there_is_no_share_of_one(busy_group: ProcessHandle) -> None:
    assert usage_reader().read({"a": busy_group}, 0.0)["a"].gpu_percent is None


def test_a_machine_without_nvml_has_no_reader_and_one_with_it_reads() -> None:
    reader = open_nvml()
    has_gpu = subprocess.run(["sh", "-c", "nvidia-smi -L"], capture_output=True).returncode == 0
    assert (reader is not None) == has_gpu
    if reader is not None:
        assert all(0 <= share <= 100 for device in reader.read() for share in device.values())


def test_the_machine_has_cores_and_memory() -> None:
    machine = machine_allowance()
    assert machine.num_cores >= 1
    assert machine.num_bytes > 100_000_000


def test_new_processes_count_whole_and_gone_ones_not() -> None:
    assert spent_between({1: 2.0, 2: 5.0}, {1: 2.5, 3: 0.25}) == 0.75


def test_a_recycled_pid_takes_nothing_away() -> None:
    assert spent_between({1: 9.0, 2: 1.0}, {1: 0.5, 2: 1.5}) == 0.5


def test_our_own_time_grows_with_work() -> None:
    ours = psutil.Process()
    before = processor_times([ours])
    while spent_between(before, processor_times([ours])) < 0.05:
        sum(range(10_000))
    assert set(before) == {os.getpid()}
