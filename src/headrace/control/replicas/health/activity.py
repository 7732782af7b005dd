"""Whether an unresponsive replica's processes are busy.

A server that computes in its event loop answers no probe meanwhile, and neither does one that hangs
or is stopped. They differ in the CPU time of their processes and, where NVML reports it, in their
GPU utilization. (Most programs busy-wait for a GPU, but not all.)
"""

import enum
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from headrace.control.processes.process_usage import GpuReader, processor_times, spent_between

MIN_WORK_SHARE = 0.02
"""Of one core. Idle threads of a server that hangs use less; one that computes uses far more, even
on an overloaded machine."""


class Activity(enum.Enum):
    """What a replica's processes did between two samples."""

    BUSY = enum.auto()
    IDLE = enum.auto()
    STOPPED = enum.auto()
    """The listening process was stopped by a signal, whatever the others did."""


@dataclass(frozen=True, slots=True)
class ActivitySample:
    at_s: float
    cpu_s: Mapping[int, float]
    """By pid, since the process began."""
    stopped: frozenset[int]
    """Pids of stopped processes that listen on the replica's port."""
    uses_gpu: bool
    """Since the previous sample of any replica."""


class ActivityReader:
    def __init__(self, gpus: GpuReader | None = None) -> None:
        self._gpus = gpus

    def read(self, processes: Sequence[psutil.Process], port: int, now_s: float) -> ActivitySample:
        """Takes milliseconds: call it in a thread."""
        cpu_s = processor_times(processes)
        stopped = set()
        for process in processes:
            with suppress(psutil.Error, OSError):  # it has exited
                if process.status() == psutil.STATUS_STOPPED and _listens(process, port):
                    stopped.add(process.pid)
        return ActivitySample(now_s, cpu_s, frozenset(stopped), self._uses_gpu(cpu_s))

    def _uses_gpu(self, cpu_s: Mapping[int, float]) -> bool:
        devices = self._gpus.read() if self._gpus is not None else ()
        return any(device.get(pid, 0.0) > 0 for device in devices for pid in cpu_s)


def activity_between(earlier: ActivitySample, later: ActivitySample) -> Activity:
    """CPU time has a resolution of 10 ms: take the samples half a second or more apart."""
    if earlier.stopped & later.stopped:
        return Activity.STOPPED
    used_s = spent_between(earlier.cpu_s, later.cpu_s)
    is_busy = used_s > MIN_WORK_SHARE * (later.at_s - earlier.at_s)
    return Activity.BUSY if is_busy or later.uses_gpu else Activity.IDLE


def _listens(process: psutil.Process, port: int) -> bool:
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for connection in process.net_connections(kind="tcp")
    )
