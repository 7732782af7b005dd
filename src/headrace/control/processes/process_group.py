"""Process groups: started in sessions of their own, identified later, signalled as a whole.

A group outlives its parent. It is identified by a `ProcessHandle`, whose start time distinguishes
it from a later process with the same pid.
"""

import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from headrace.control.resources import ProcessHandle

LAUNCH_NAME_VARIABLE = "HEADRACE_LAUNCH"
"""Environment variable with the launch name of a group."""

_START_TIME_TOLERANCE_S = 0.02
"""Two ticks of the kernel's clock: a database may round start times."""
_KILL_WAIT_S = 1.0
_KILL_POLL_S = 0.001


def start_group(
    command: Sequence[str], *, name: str, env: Mapping[str, str], folder: Path, log: Path | None
) -> ProcessHandle:
    """Start ``command`` as the leader of a new session; output is appended to ``log``.

    Without a log, output is discarded. Raises OSError if the command, the folder or the log cannot
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
    # If it has exited already: its pid cannot be reused before it is waited for.
    handle = ProcessHandle(pid=process.pid, started_at=started_at or 0.0)
    process.returncode = 0  # _reap waits for it; avoids Popen's ResourceWarning
    return handle


def own_handle() -> ProcessHandle:
    """The handle of this process."""
    return ProcessHandle(pid=os.getpid(), started_at=_start_time(os.getpid()) or 0.0)


def is_alive(handle: ProcessHandle) -> bool:
    """Whether any process of the group still runs. If none does, its leader has been reaped."""
    _reap(handle.pid)
    started_at = _start_time(handle.pid)
    if started_at is not None:
        return abs(started_at - handle.started_at) <= _START_TIME_TOLERANCE_S
    if _orphans(handle):
        return True
    _reap(handle.pid)  # it may have become a zombie since
    return False


def is_named(handle: ProcessHandle, name: str) -> bool:
    """Whether the group is alive and was started as ``name``.

    Verified by the process's environment: pids are recycled, and start times restart at a reboot.
    """
    if not is_alive(handle):
        return False
    try:
        return bool(psutil.Process(handle.pid).environ().get(LAUNCH_NAME_VARIABLE) == name)
    except psutil.Error:
        return bool(_orphans(handle))


def signal_group(handle: ProcessHandle, number: signal.Signals) -> None:
    """Send a signal to the whole group; no effect if it is gone."""
    if is_alive(handle):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(handle.pid, number)


def kill_group(handle: ProcessHandle) -> None:
    """Send SIGKILL to the whole group, and reap its leader if it is our child.

    The caller may drop the handle: no zombie is left, unless the kernel takes longer than
    _KILL_WAIT_S to end the leader.
    """
    signal_group(handle, signal.SIGKILL)
    deadline = time.monotonic() + _KILL_WAIT_S
    with suppress(ChildProcessError):
        while os.waitpid(handle.pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(_KILL_POLL_S)


def process_tree(handle: ProcessHandle) -> list[psutil.Process]:
    """The leader and all its descendants; empty if it is gone."""
    if not is_alive(handle):
        return []
    try:
        leader = psutil.Process(handle.pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return _orphans(handle)


def process_trees(handles: Mapping[str, ProcessHandle]) -> dict[str, list[psutil.Process]]:
    """`process_tree` of each, with one scan of the system's processes for all."""
    children: dict[int, list[psutil.Process]] = defaultdict(list)
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            children[process.ppid()].append(process)
    return {name: _tree(handle, children) for name, handle in handles.items()}


def _tree(
    handle: ProcessHandle, children: Mapping[int, list[psutil.Process]]
) -> list[psutil.Process]:
    if not is_alive(handle):
        return []
    try:
        tree = [psutil.Process(handle.pid)]
    except psutil.Error:
        return _orphans(handle)
    for process in tree:  # which grows meanwhile
        tree += children.get(process.pid, ())
    return tree


def _start_time(pid: int) -> float | None:
    """The start time of a running process; None if there is none, or only a zombie.

    On Linux in seconds since boot, independent of changes of the wall clock.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        # A zombie leader with running threads still holds its ports and files.
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
    """The group's processes after its leader has exited. The pid of a group that has members is
    never reused, so these are its own."""
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
    """Wait for an exited child. No effect on processes that are not our children."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
