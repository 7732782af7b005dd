"""What a reader must know of the machine and the software to judge a figure.

Of where the client runs; the server may run elsewhere. Knows nothing of servers or workloads.
"""

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
    """Where the client ran."""

    cpu: str
    num_cores: int | None
    """Logical ones, of the whole machine."""
    num_usable_cores: int | None
    """Those that this process may run on."""
    memory_bytes: int
    gpus: list[str]
    system: str
    load_1min: float | None
    """Mean number of running processes in the last minute: above zero before a run, somebody
    else was at work."""


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
    """Python's and those of the packages that matter, where they are installed. Nothing is
    imported for it."""
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
