"""The number of compute threads, and the CPU's bfloat16 instructions.

Must not import torch: the parent process uses it to set up the core's environment.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from headrace.engine.hardware import cgroups

_BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
"""Flags in /proc/cpuinfo, best first; the last one is ARM's."""


@dataclass(frozen=True)
class ThreadChoice:
    num_threads: int
    why: str


def choose_num_threads(requested: int | None, root: Path = Path("/")) -> ThreadChoice:
    """One thread per physical core in this process's affinity mask, within its CPU quota.

    Two hyperthreads share one core's vector units, so a second one only adds contention.
    """
    if requested is not None:
        return ThreadChoice(requested, "as configured")
    cores = _num_physical_cores(root)
    quota = cgroups.cpu_quota(root)
    if quota is not None and quota < cores:
        return ThreadChoice(max(1, int(quota)), f"the control group allows {quota:g} CPUs")
    return ThreadChoice(cores, "physical cores of this process")


def bf16_instructions(root: Path = Path("/")) -> str | None:
    """This CPU's instruction set for bfloat16 products; None if it has none."""
    try:
        text = (root / "proc/cpuinfo").read_text()
    except OSError:
        return None
    flags: set[str] = set()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            flags.update(value.split())
    return next((flag for flag in _BF16_FLAGS if flag in flags), None)


def _num_physical_cores(root: Path) -> int:
    if not hasattr(os, "sched_getaffinity"):  # macOS
        return psutil.cpu_count(logical=False) or 1
    cpus = os.sched_getaffinity(0)
    cores = {_siblings(root, cpu) for cpu in cpus}
    return max(1, len(cores))


def _siblings(root: Path, cpu: int) -> str:
    """The CPUs that share a core with this one, as the kernel lists them. Identifies the core."""
    topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    for name in ("core_cpus_list", "thread_siblings_list"):
        try:
            return (topology / name).read_text().strip()
        except OSError:
            continue
    return str(cpu)
