"""Selects the launcher for this machine."""

from typing import Literal

from headrace.control.launchers.base import Launcher
from headrace.control.launchers.container import ContainerLauncher, find_runtime
from headrace.control.launchers.process import ProcessLauncher

ContainerUse = Literal["auto", "never"]
"""``auto``: plans with an image run in containers if a runtime is available."""


def make_launcher(containers: ContainerUse = "auto") -> Launcher:
    """The launcher for this machine. Checks for a container runtime, which may take seconds."""
    runtime = find_runtime() if containers == "auto" else None
    host = ProcessLauncher()
    return host if runtime is None else ContainerLauncher(runtime, host)
