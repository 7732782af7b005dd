"""CPU, memory and GPU usage of groups of processes."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import psutil

from headrace.control.resources import ProcessHandle

_SHORTEST_MEASURE_S = 0.5
"""CPU time has a resolution of 10 ms: shorter intervals would be too imprecise."""


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Of all processes of a replica together. None: unknown (yet)."""

    num_busy_cores: float | None
    """Mean since the previous sample, at least half a second ago."""
    num_bytes: int
    """Resident memory."""
    gpu_percent: float | None
    """Mean utilization of its GPUs."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one replica may use; by default the whole machine."""

    num_cores: float
    num_bytes: int


def machine_allowance() -> Allowance:
    """All of this machine: the cores that this process may run on, and its memory."""
    return Allowance(float(_num_cores()), int(psutil.virtual_memory().total))


class GpuReader(Protocol):
    def read(self) -> Sequence[Mapping[int, float]]:
        """For each GPU: utilization in percent by pid."""
        ...


@dataclass(frozen=True, slots=True)
class _CpuSample:
    at_s: float
    cpu_s: Mapping[int, float]
    """By pid, since the process began."""
    num_busy_cores: float | None
    """Mean since the previous sample."""


class ProcessUsageReader:
    """Keeps the last sample of each replica, as CPU time is a counter."""

    def __init__(
        self,
        process_trees: Callable[
            [Mapping[str, ProcessHandle]], Mapping[str, Sequence[psutil.Process]]
        ],
        gpus: GpuReader | None = None,
    ) -> None:
        """``process_trees``: the launcher's method that returns the processes of replicas."""
        self._process_trees = process_trees
        self._gpus = gpus
        self._last: dict[str, _CpuSample] = {}

    def read(self, handles: Mapping[str, ProcessHandle], now_s: float) -> dict[str, ProcessUsage]:
        """By replica id. What is gone is left out."""
        devices = self._gpus.read() if self._gpus is not None else ()
        usages: dict[str, ProcessUsage] = {}
        readings: dict[str, _CpuSample] = {}
        for replica_id, processes in self._process_trees(handles).items():
            if not processes:
                continue
            reading = _read_cpu(self._last.get(replica_id), processes, now_s)
            usages[replica_id] = ProcessUsage(
                num_busy_cores=reading.num_busy_cores,
                num_bytes=_resident_bytes(processes),
                gpu_percent=_gpu_percent(devices, {process.pid for process in processes}),
            )
            readings[replica_id] = reading
        self._last = readings
        return usages


def processor_times(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """Seconds of CPU time by pid, since each process's start. Exited processes are left out."""
    times = {}
    for process in processes:
        with suppress(psutil.Error, OSError):  # it has exited
            spent = process.cpu_times()
            times[process.pid] = float(spent.user + spent.system)
    return times


def spent_between(earlier: Mapping[int, float], later: Mapping[int, float]) -> float:
    """Total seconds. All time of a process that is not in ``earlier`` counts."""
    return sum(max(spent_s - earlier.get(pid, 0.0), 0.0) for pid, spent_s in later.items())


def _read_cpu(
    earlier: _CpuSample | None, processes: Iterable[psutil.Process], now_s: float
) -> _CpuSample:
    """The earlier sample itself if it is less than half a second old."""
    if earlier is None:
        return _CpuSample(now_s, processor_times(processes), None)
    elapsed_s = now_s - earlier.at_s
    if elapsed_s < _SHORTEST_MEASURE_S:
        return earlier
    cpu_s = processor_times(processes)
    return _CpuSample(now_s, cpu_s, spent_between(earlier.cpu_s, cpu_s) / elapsed_s)


def _resident_bytes(processes: Iterable[psutil.Process]) -> int:
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            total += int(process.memory_info().rss)
    return total


def _gpu_percent(devices: Sequence[Mapping[int, float]], pids: set[int]) -> float | None:
    """The mean over the GPUs on which it has a process; None if it is on none."""
    shares = [
        sum(percent for pid, percent in device.items() if pid in pids)
        for device in devices
        if not pids.isdisjoint(device)
    ]
    return min(sum(shares) / len(shares), 100.0) if shares else None


def _num_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
