"""The state of this machine: cores, memory, disk, GPUs, versions and the platform's processes."""

import os
import platform
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import pynvml  # type: ignore[import-untyped]

from headrace.control.devices.gpus import open_handles
from headrace.control.layout import DAEMONS, Layout
from headrace.control.processes.process_group import is_alive
from headrace.control.processes.record import read_record
from headrace.version import __version__

_OPTIONAL = ("prometheus",)
"""Processes that `headrace up` starts only with an option; shown if they run."""
_PACKAGES = ("torch", "transformers", "vllm")


@dataclass(frozen=True, slots=True)
class GpuState:
    index: int
    """As in `nvidia-smi`."""
    uuid: str
    name: str
    num_used_bytes: int | None
    """None, as the next two: NVML does not report it."""
    num_bytes: int | None
    utilization: float | None
    """From 0 to 1."""


@dataclass(frozen=True, slots=True)
class PlatformProcess:
    """The supervisor, or a process that it starts."""

    name: str
    pid: int | None
    """None, as the rest: it does not run."""
    uptime_s: float | None
    num_bytes: int | None
    """Resident memory."""
    log: str


@dataclass(frozen=True, slots=True)
class MachineState:
    node: str
    system: str
    """Kernel and architecture."""
    num_cores: int
    """Those that the control plane may use."""
    load: tuple[float, float, float]
    """Means of the runnable processes in the last 1, 5 and 15 minutes."""
    num_memory_bytes: int
    num_available_bytes: int
    home: str
    num_disk_bytes: int
    """Of the file system of ``home``."""
    num_free_bytes: int
    gpus: Sequence[GpuState]
    versions: Sequence[tuple[str, str]]
    processes: Sequence[PlatformProcess]


class MachineReader:
    """Reads the state now. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._gpus = open_handles()
        self._versions = _versions()

    def read(self) -> MachineState:
        memory = psutil.virtual_memory()
        disk = shutil.disk_usage(self._layout.home)
        return MachineState(
            node=platform.node(),
            system=f"{platform.system()} {platform.release()}, {platform.machine()}",
            num_cores=len(os.sched_getaffinity(0)),
            load=os.getloadavg(),
            num_memory_bytes=int(memory.total),
            num_available_bytes=int(memory.available),
            home=str(self._layout.home),
            num_disk_bytes=disk.total,
            num_free_bytes=disk.free,
            gpus=[_gpu(index, handle) for index, handle in enumerate(self._gpus)],
            versions=self._versions,
            processes=[
                process
                for process in map(self._process, DAEMONS)
                if process.pid is not None or process.name not in _OPTIONAL
            ],
        )

    def _process(self, name: str) -> PlatformProcess:
        log = str(self._layout.daemon_log(name))
        handle = read_record(self._layout.daemon_file(name))
        if handle is not None and is_alive(handle):
            with suppress(psutil.Error):
                process = psutil.Process(handle.pid)
                uptime_s = time.time() - float(process.create_time())
                memory = int(process.memory_info().rss)
                return PlatformProcess(name, handle.pid, uptime_s, memory, log)
        return PlatformProcess(name, None, None, None, log)


def _gpu(index: int, handle: Any) -> GpuState:
    used = total = utilization = None
    with suppress(pynvml.NVMLError):  # such as MIG, which has no utilization
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        used, total = int(memory.used), int(memory.total)
        utilization = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    return GpuState(
        index=index,
        uuid=_nvml_text(pynvml.nvmlDeviceGetUUID, handle),
        name=_nvml_text(pynvml.nvmlDeviceGetName, handle),
        num_used_bytes=used,
        num_bytes=total,
        utilization=utilization,
    )


def _nvml_text(read: Any, handle: Any) -> str:
    with suppress(pynvml.NVMLError):
        return str(read(handle))
    return ""


def _versions() -> list[tuple[str, str]]:
    found = [("headrace", __version__), ("python", platform.python_version())]
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found.append((name, version(name)))
    return found
