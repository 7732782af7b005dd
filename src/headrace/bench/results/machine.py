"""The client's machine and software versions; the server may run elsewhere."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from headrace.bench.memory.gpu_memory import open_gpu_memory

PACKAGES = ("headrace", "msgspec", "uvloop", "numpy", "torch", "transformers", "numba")


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of the client."""

    cpu: str
    num_cores: int | None
    """Logical cores of the machine."""
    num_usable_cores: int | None
    """Cores in this process's affinity mask."""
    memory_bytes: int
    gpus: list[str]
    system: str
    load_1min: float | None
    """Load average of the last minute; above zero before a run, other programs were busy."""


def describe_machine() -> Machine:
    return Machine(
        cpu=_cpu(),
        num_cores=os.cpu_count(),
        num_usable_cores=_num_usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        gpus=_gpus(),
        system=platform.platform(),
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def describe_versions() -> dict[str, str]:
    """Of Python and of PACKAGES, if installed; imports none of them."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _num_usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _gpus() -> list[str]:
    memory = open_gpu_memory()
    if memory is None:
        return []
    try:
        return memory.names
    finally:
        memory.close()
