"""Launches plans as process groups on this machine.

Each plan's shell runs under a wrapper script that writes the exit code to a file, so that it is
available after a restart of the control plane.
"""

import errno
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from headrace.control.errors import LaunchError, cause_of
from headrace.control.launchers.base import LaunchPlan, Observation, Step
from headrace.control.launchers.environment import inherited_environment
from headrace.control.processes.process_group import (
    is_alive,
    is_named,
    kill_group,
    process_tree,
    process_trees,
    signal_group,
    start_group,
)
from headrace.control.processes.record import read_record, write_record
from headrace.control.resources import ProcessHandle

LOG_FILE = "log"
EXIT_CODE_FILE = "exit_code"
PROCESS_FILE = "process.json"

_EXIT_CODE_WRAPPER = """
exit_code_file=$1; shift
trap : TERM INT HUP
"$@" &
wait $!
code=$?
while kill -0 $! 2>/dev/null; do wait $!; code=$?; done
echo "$code" >"$exit_code_file.part" && mv "$exit_code_file.part" "$exit_code_file"
exit "$code"
"""
"""Survives SIGTERM to the group, so that it can record the command's exit code."""


class ProcessLauncher:
    """A `Launcher` for processes on the host."""

    def start(self, plan: LaunchPlan) -> ProcessHandle:
        try:
            plan.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            exit_code_file = plan.folder / EXIT_CODE_FILE
            exit_code_file.unlink(missing_ok=True)
            handle = start_group(
                [
                    "/bin/sh",
                    "-c",
                    _EXIT_CODE_WRAPPER,
                    "exit-code-wrapper",
                    str(exit_code_file),
                    *_shell(),
                    shell_script(plan.steps, default_workdir=plan.folder),
                ],
                name=plan.name,
                env=process_environment(plan, os.environ),
                folder=plan.folder,
                log=plan.folder / LOG_FILE,
            )
            try:
                write_record(plan.folder / PROCESS_FILE, handle)
            except BaseException:
                kill_group(handle)
                raise
        except (OSError, ValueError) as error:  # a NUL, or text that UTF-8 cannot express
            raise LaunchError(f"Cannot start {plan.name}: {_reason(error)}") from None
        return handle

    def find(self, name: str, folder: Path) -> ProcessHandle | None:
        handle = read_record(folder / PROCESS_FILE)
        return handle if handle is not None and is_named(handle, name) else None

    def adopt(self, name: str, handle: ProcessHandle) -> bool:
        return is_named(handle, name)

    def observe(self, handle: ProcessHandle, folder: Path) -> Observation:
        if is_alive(handle):
            return Observation(is_running=True)
        return Observation(is_running=False, exit_code=_exit_code(folder / EXIT_CODE_FILE))

    def processes(self, name: str, handle: ProcessHandle) -> list[psutil.Process]:
        return process_tree(handle)

    def process_trees(
        self, handles: Mapping[str, ProcessHandle]
    ) -> dict[str, list[psutil.Process]]:
        return process_trees(handles)

    def terminate(self, name: str, handle: ProcessHandle) -> None:
        signal_group(handle, signal.SIGTERM)

    def kill(self, name: str, handle: ProcessHandle) -> None:
        kill_group(handle)


def shell_script(steps: Sequence[Step], *, default_workdir: Path | None) -> str:
    """All steps as one shell script, so that exported variables are visible to later steps.

    A failing step ends it with the step's exit code.
    """
    return "(exit $?) || exit\n".join(
        _lines(step, step.workdir or default_workdir) for step in steps
    )


def process_environment(plan: LaunchPlan, environ: Mapping[str, str]) -> dict[str, str]:
    """The inherited variables and the plan's own, with Headrace's environment first on PATH."""
    inherited = inherited_environment(environ, everything=plan.inherits_env)
    env = {**inherited, **plan.env}
    return {**env, "PATH": _path(env.get("PATH") or os.defpath)}


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        return "the command and its environment are too long for this system."
    return cause_of(error)


def _lines(step: Step, workdir: Path | None) -> str:
    change = "" if workdir is None else f"cd {shlex.quote(str(workdir))} || exit 1\n"
    return f"{change}{step.command.rstrip()}\n"


def _shell() -> list[str]:
    """Bash if it is installed, since most commands are written for it."""
    return [shutil.which("bash") or "/bin/sh", "-c"]


def _path(path: str) -> str:
    """``path`` with Headrace's environment first, for `headrace` and `python`."""
    return os.pathsep.join([str(Path(sys.executable).parent), path])


def _exit_code(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
