"""What a reader must know of the machine and the code to judge a figure.

Knows nothing of servers or workloads.
"""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil


def describe_machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_model(),
        "num_cores": os.cpu_count(),
        "num_usable_cores": len(psutil.Process().cpu_affinity()),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "load": os.getloadavg(),
    }


def describe_code() -> dict[str, Any]:
    """Of the environment that the client runs in; a server may have one of its own."""
    packages = ("headrace", "torch", "transformers", "numba", "uvloop", "httptools")
    return {
        "python": platform.python_version(),
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len((_git("status", "--porcelain") or "").splitlines()),
        "packages": {name: _version(name) for name in packages},
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
