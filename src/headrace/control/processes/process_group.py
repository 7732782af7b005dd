"""A process group of its own: started apart from us, known again later, signalled whole.

Knows no replica. A group outlives whoever started it; what is kept of it is a `ProcessHandle`,
whose start time tells it from a later process that got the same pid.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from headrace.control.resources import ProcessHandle

LAUNCH_NAME_VARIABLE = "HEADRACE_LAUNCH"
"""Environment variable that holds the name under which a group was started."""

_START_TIME_TOLERANCE_S = 0.02
"""Two ticks of the kernel's clock: start times are floats that a database has rounded."""


def start_group(
    command: Sequence[str], *, name: str, env: Mapping[str, str], folder: Path, log: Path | None
) -> ProcessHandle:
    """Start ``command`` as leader of a session and group of its own; output is appended to ``log``.

    With no log, output is discarded. Raises OSError if the command, the folder or the log cannot
    be used, and ValueError for a NUL or text that cannot be encoded.
    """
    with open(os.devnull, "wb") if log is None else log.open("ab") as output:
        if log is not None:
            os.chmod(log, 0o600)
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**env, LAUNCH_NAME_VARIABLE: name},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started_at = _start_time(process.pid)
    # What has ended already is known by its pid alone: nothing else can have it before we wait.
    handle = ProcessHandle(pid=process.pid, started_at=started_at or 0.0)
    process.returncode = 0  # it is waited for in _reap; nothing is to warn that it still runs
    return handle


def own_handle() -> ProcessHandle:
    """This very process."""
    return ProcessHandle(pid=os.getpid(), started_at=_start_time(os.getpid()) or 0.0)


def is_alive(handle: ProcessHandle) -> bool:
    """Whether the group's leader, or anything that it left in the group, still runs."""
    _reap(handle.pid)
    started_at = _start_time(handle.pid)
    if started_at is not None:
        return abs(started_at - handle.started_at) <= _START_TIME_TOLERANCE_S
    return bool(_orphans(handle))


def is_named(handle: ProcessHandle, name: str) -> bool:
    """Whether the group is alive and is the one that was started under ``name``.

    Asks the process's own environment, so that neither a recycled pid nor a restart of the
    machine, after which start times count anew, can take us in.
    """
    if not is_alive(handle):
        return False
    try:
        return bool(psutil.Process(handle.pid).environ().get(LAUNCH_NAME_VARIABLE) == name)
    except psutil.Error:
        return bool(_orphans(handle))


def signal_group(handle: ProcessHandle, number: signal.Signals) -> None:
    """Send a signal to everything in the group; nothing happens if it is gone."""
    if is_alive(handle):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(handle.pid, number)


def process_tree(handle: ProcessHandle) -> list[psutil.Process]:
    """The leader and all that it started, directly or not; empty if it is gone."""
    if not is_alive(handle):
        return []
    try:
        leader = psutil.Process(handle.pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return _orphans(handle)


def _start_time(pid: int) -> float | None:
    """When a running process began; None if there is none, or only its zombie.

    On Linux in seconds since boot, which no change of the wall clock moves.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        # A leader that is gone before its threads are still holds its ports and files.
        if fields[0] in (b"Z", b"X") and int(fields[17]) <= 1:
            return None
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (ProcessLookupError, OSError):
        return None
    try:
        process = psutil.Process(pid)
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        return None if is_zombie else float(process.create_time())
    except psutil.Error:
        return None


def _orphans(handle: ProcessHandle) -> list[psutil.Process]:
    """What runs on in the group after its leader is gone. No new process can have the pid of a
    group that has members, so these are the group's own."""
    try:
        os.killpg(handle.pid, 0)
    except OSError:
        return []
    members = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            is_member = os.getpgid(process.pid) == handle.pid == os.getsid(process.pid)
            if is_member and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
    return members


def _reap(pid: int) -> None:
    """Take the exit of what is our child and has ended; others' children are not ours to take."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
