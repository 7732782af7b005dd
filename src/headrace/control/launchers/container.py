"""Launches plans in containers, through the command line of Docker or Podman.

The runtime's client runs as an ordinary process group, so logs, exit codes and adoption are those
of `ProcessLauncher`. The container uses the host's network, so its ports are host ports. The
runtime pulls images with its own credentials.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from headrace.control.launchers.base import ContainerLimits, LaunchPlan, Observation, Step
from headrace.control.launchers.process import ProcessLauncher, shell_script
from headrace.control.resources import ProcessHandle

_RUNTIMES = ("docker", "podman")
_ANSWER_TIMEOUT_S = 5.0
_KILL_TIMEOUT_S = 30.0

_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
"""Capabilities that root keeps in a container: it can install packages, use mounted folders of
another owner, and start and signal processes of other users. They apply to the container's own
files and processes. All others are dropped, such as NET_RAW and NET_BIND_SERVICE, which would
apply to the host's network, MKNOD and SYS_CHROOT."""

_FIRST_PROCESS = """
trap 'kill -TERM -1' TERM INT
/bin/sh -c "$1" &
wait $!
code=$?
while kill -0 $! 2>/dev/null; do wait $!; code=$?; done
exit "$code"
"""
"""The container's init process: forwards signals to all other processes."""


def find_runtime() -> str | None:
    """Path of an available container runtime; None: commands run on the host."""
    for name in _RUNTIMES:
        path = shutil.which(name)
        if path is not None and _answers(path):
            return path
    return None


class ContainerLauncher:
    """A `Launcher` for plans with an image in containers, and for others on the host."""

    def __init__(self, runtime: str, host: ProcessLauncher) -> None:
        self._runtime = runtime
        self._host = host
        self._first: dict[str, psutil.Process] = {}
        """The init processes of containers, by name of their plan."""

    def start(self, plan: LaunchPlan) -> ProcessHandle:
        if plan.image is None:
            return self._host.start(plan)
        # A container of this name can only be an orphan of an earlier start.
        self._remove(plan.name)
        client = Step(_exec_line(container_command(self._runtime, plan)))
        # The client needs the operator's variables, such as DOCKER_HOST; the container gets none.
        return self._host.start(replace(plan, steps=(client,), inherits_env=True))

    def find(self, name: str, folder: Path) -> ProcessHandle | None:
        return self._host.find(name, folder)

    def adopt(self, name: str, handle: ProcessHandle) -> bool:
        return self._host.adopt(name, handle)

    def observe(self, handle: ProcessHandle, folder: Path) -> Observation:
        return self._host.observe(handle, folder)

    def processes(self, name: str, handle: ProcessHandle) -> list[psutil.Process]:
        """Those of the client and of the container, which are not the client's children."""
        return [*self._host.processes(name, handle), *self._contained(name)]

    def process_trees(
        self, handles: Mapping[str, ProcessHandle]
    ) -> dict[str, list[psutil.Process]]:
        trees = self._host.process_trees(handles)
        for name, tree in trees.items():
            if any(_is_client(process, name) for process in tree):
                tree += self._contained(name)
        return trees

    def terminate(self, name: str, handle: ProcessHandle) -> None:
        """The client forwards SIGTERM to the container's init process."""
        self._host.terminate(name, handle)

    def kill(self, name: str, handle: ProcessHandle) -> None:
        self._host.kill(name, handle)
        # SIGKILL cannot be forwarded: the container outlives its client.
        self._remove(name)

    def _contained(self, name: str) -> list[psutil.Process]:
        try:
            first = self._first.get(name)
            if first is None or not first.is_running():
                first = self._find_first(name)
            return [] if first is None else [first, *first.children(recursive=True)]
        except (OSError, ValueError, subprocess.SubprocessError, psutil.Error):
            return []

    def _find_first(self, name: str) -> psutil.Process | None:
        """Ask the runtime, which starts a process: once for each container."""
        self._first = {other: one for other, one in list(self._first.items()) if one.is_running()}
        inspected = subprocess.run(
            [self._runtime, "inspect", "--format", "{{.State.Pid}}", container_name(name)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_TIMEOUT_S,
            check=True,
        )
        first = psutil.Process(int(inspected.stdout))
        # The pid of a runtime in a virtual machine is not one of this machine.
        if _FIRST_PROCESS not in first.cmdline():
            return None
        self._first[name] = first
        return first

    def _remove(self, name: str) -> None:
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [self._runtime, "rm", "--force", container_name(name)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_KILL_TIMEOUT_S,
                check=False,
            )


def _is_client(process: psutil.Process, name: str) -> bool:
    """Whether it is the runtime's client of this container, which a plan on the host has not."""
    try:
        return container_name(name) in process.cmdline()
    except psutil.Error:
        return False


def container_name(name: str) -> str:
    return f"headrace-{name}"


def container_command(runtime: str, plan: LaunchPlan) -> list[str]:
    """The client's command line. Variables are passed by name: their values may be secret."""
    command = [runtime, "run", "--rm", "--name", container_name(plan.name)]
    command += ["--network", "host", "--entrypoint", "/bin/sh"]
    command += ["--security-opt", "no-new-privileges", "--cap-drop", "ALL"]
    for capability in _CAPABILITIES:
        command += ["--cap-add", capability]
    for name in sorted(plan.env):
        command += ["--env", name]
    for inside, outside in sorted(plan.mounts.items()):
        command += ["--volume", f"{outside}:{inside}"]
    command += _limit_options(runtime, plan.limits)
    script = shell_script(plan.steps, default_workdir=None)
    return [*command, str(plan.image), "-c", _FIRST_PROCESS, "headrace", script]


def _limit_options(runtime: str, limits: ContainerLimits) -> list[str]:
    options = []
    # Docker refuses more cores than the machine has; as many are no limit.
    if limits.num_cores is not None and limits.num_cores < (os.cpu_count() or 1):
        options += ["--cpus", f"{limits.num_cores:g}"]
    if limits.memory_bytes is not None:
        options += ["--memory", f"{limits.memory_bytes}b"]
    if Path(runtime).name.startswith("podman"):
        for uuid in limits.gpus:
            options += ["--device", f"nvidia.com/gpu={uuid}"]  # by CDI
    elif limits.gpus:
        # The value is CSV: without quotes, a comma would end the list of devices.
        options += ["--gpus", f'"device={",".join(limits.gpus)}"']
    return options


def _exec_line(command: list[str]) -> str:
    return f"exec {shlex.join(command)}"


def _answers(runtime: str) -> bool:
    try:
        answer = subprocess.run(
            [runtime, "info"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_ANSWER_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return answer.returncode == 0
