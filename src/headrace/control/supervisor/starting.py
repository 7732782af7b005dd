"""Startup of the supervisor: one at a time for each home, and detached with ``-d``."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from headrace.control.errors import ConflictError, LaunchError
from headrace.control.launchers.environment import inherited_environment
from headrace.control.layout import Layout
from headrace.control.processes.process_group import start_group
from headrace.control.supervisor.supervisor import running_supervisor

_DEADLINE_S = 60.0
_POLL_S = 0.05


@contextmanager
def startup_lock(layout: Layout) -> Iterator[None]:
    """A lock. Raises ConflictError if this home has a supervisor, or one is being started."""
    layout.make()
    lock = FileLock(layout.control / "up.lock", timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        _refuse_second(layout)
        raise ConflictError(f"Another `headrace up` is starting in {layout.home}.") from None
    try:
        _refuse_second(layout)
        yield
    finally:
        lock.release()


def start_detached(layout: Layout) -> None:
    """Start the supervisor in the background. Raises LaunchError if it does not start."""
    log = layout.daemon_log("supervisor")
    start_group(
        [sys.executable, "-m", "headrace.control.supervisor", "--home", str(layout.home)],
        name="supervisor",
        env=inherited_environment(os.environ, everything=True),
        folder=layout.control,
        log=log,
    )
    deadline = time.monotonic() + _DEADLINE_S
    while running_supervisor(layout) is None:
        if time.monotonic() > deadline:
            raise LaunchError(f"The supervisor did not start. See its log: {log}")
        time.sleep(_POLL_S)


def _refuse_second(layout: Layout) -> None:
    supervisor = running_supervisor(layout)
    if supervisor is not None:
        raise ConflictError(
            f"Already running in {layout.home} (pid {supervisor.pid}). "
            "`headrace status` shows it, `headrace down` stops it. To run a second platform, use "
            "another HEADRACE_HOME and other ports."
        )
