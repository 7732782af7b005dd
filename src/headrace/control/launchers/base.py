"""The `Launcher` protocol: start a plan, observe it, stop it. Independent of replicas and runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from headrace.control.resources import ProcessHandle


@dataclass(frozen=True, slots=True)
class Step:
    """One shell command; the next step starts after it has succeeded."""

    command: str
    workdir: Path | None = None
    """None: the plan's folder."""


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """Resource limits of a container; None: unlimited."""

    num_cores: float | None = None
    memory_bytes: int | None = None
    gpus: tuple[str, ...] = ()
    """UUIDs of its GPUs. A container sees no others."""


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """Everything needed to launch a process or container."""

    name: str
    """Unique: a replica's or a run's id."""
    steps: tuple[Step, ...]
    folder: Path
    """Created if missing; gets ``log``, ``process.json`` and ``exit_code``."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the inherited variables; takes precedence. May contain secrets."""
    inherits_env: bool = False
    """Inherit all of the launcher's environment except Headrace's own credentials, instead of the
    allow-list. Containers inherit nothing."""
    host_ports: Mapping[int, int] = field(default_factory=dict)
    """Port on this machine by declared port."""
    image: str | None = None
    mounts: Mapping[str, Path] = field(default_factory=dict)
    """Host path by path in the container; ignored without ``image``."""
    limits: ContainerLimits = ContainerLimits()
    """Ignored without ``image``."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The state of a launched plan."""

    is_running: bool
    exit_code: int | None = None
    """None while it runs, and if it was killed before it could be recorded."""


class Launcher(Protocol):
    """Launches plans. No method waits for the process."""

    def start(self, plan: LaunchPlan) -> ProcessHandle:
        """Start it. Raises LaunchError if it cannot be started; then no process is left."""
        ...

    def find(self, name: str, folder: Path) -> ProcessHandle | None:
        """The process of ``name`` in ``folder``, if the caller has lost the handle."""
        ...

    def adopt(self, name: str, handle: ProcessHandle) -> bool:
        """Whether ``handle`` is still the process that was started as ``name``."""
        ...

    def observe(self, handle: ProcessHandle, folder: Path) -> Observation: ...

    def processes(self, name: str, handle: ProcessHandle) -> list[psutil.Process]:
        """All its visible processes; empty if it is gone."""
        ...

    def process_trees(
        self, handles: Mapping[str, ProcessHandle]
    ) -> dict[str, list[psutil.Process]]:
        """`processes` of each, by name; cheaper than one by one."""
        ...

    def terminate(self, name: str, handle: ProcessHandle) -> None:
        """Send SIGTERM to all its processes. No effect if it is gone."""
        ...

    def kill(self, name: str, handle: ProcessHandle) -> None:
        """Send SIGKILL to all its processes. No effect if it is gone."""
        ...
