"""What every launcher does: run a plan's steps, tell how it goes, end it.

Knows no replica and no run: a plan has a name, and what it is for is the caller's matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from headrace.control.resources import ProcessHandle


@dataclass(frozen=True, slots=True)
class Step:
    """One shell command; the next one begins when it has succeeded."""

    command: str
    workdir: Path | None = None
    """None: the plan's folder."""


@dataclass(frozen=True, slots=True)
class ContainerLimits:
    """What of the machine a container gets; None is no limit."""

    num_cores: float | None = None
    memory_bytes: int | None = None
    gpus: tuple[str, ...] = ()
    """UUIDs. A container sees no others."""


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """Everything that is needed to run something."""

    name: str
    """Unique: a replica's or a run's id."""
    steps: tuple[Step, ...]
    folder: Path
    """Made if it is not there; gets ``log``, ``process.json`` and ``exit_code``."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to what is inherited of the launcher's environment, and wins. May hold secrets."""
    inherits_env: bool = False
    """Inherit all of the launcher's environment except Headrace's own credentials, instead of the
    allow-list. Containers inherit nothing."""
    host_ports: Mapping[int, int] = field(default_factory=dict)
    """Port on this machine by declared port."""
    image: str | None = None
    mounts: Mapping[str, Path] = field(default_factory=dict)
    """Host path by path in the container; of no meaning without one."""
    limits: ContainerLimits = ContainerLimits()
    """Of no meaning without a container."""


@dataclass(frozen=True, slots=True)
class Observation:
    """How a launched plan goes."""

    is_running: bool
    exit_code: int | None = None
    """Known only if it has ended by itself or by a signal that it could bear."""


class Launcher(Protocol):
    """Runs plans. None of its methods waits for what it sets off."""

    def start(self, plan: LaunchPlan) -> ProcessHandle:
        """Run it. Raises LaunchError if it cannot be started; then no process is left."""
        ...

    def find(self, name: str, folder: Path) -> ProcessHandle | None:
        """What runs as ``name`` in ``folder``, should whoever started it not have got to keep
        the handle."""
        ...

    def adopt(self, name: str, handle: ProcessHandle) -> bool:
        """Whether ``handle`` is still the process that was started under ``name``."""
        ...

    def observe(self, handle: ProcessHandle, folder: Path) -> Observation: ...

    def processes(self, name: str, handle: ProcessHandle) -> list[psutil.Process]:
        """All that it runs, as far as this machine lets it be seen; empty if it is gone."""
        ...

    def terminate(self, name: str, handle: ProcessHandle) -> None:
        """Ask it to end (SIGTERM to all of it). Nothing happens if it is gone."""
        ...

    def kill(self, name: str, handle: ProcessHandle) -> None:
        """End it now (SIGKILL to all of it). Nothing happens if it is gone."""
        ...
