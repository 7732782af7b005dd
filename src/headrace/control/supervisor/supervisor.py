"""Keeps gateway and control plane running until a signal arrives."""

import os
import signal
import time
from contextlib import suppress
from enum import StrEnum
from types import FrameType

from headrace.control.layout import Layout
from headrace.control.processes.process_group import is_alive, own_handle
from headrace.control.processes.record import read_record, write_record
from headrace.control.resources import ProcessHandle
from headrace.control.supervisor.daemons import Daemons, Report

HAND_OVER = signal.SIGUSR1
"""Ends the supervisor; the daemons keep running."""

_POLL_S = 0.05


class ExitReason(StrEnum):
    """Why a supervisor exits."""

    STOP = "stop"
    """Ctrl-C, SIGTERM or SIGHUP: the caller must stop everything."""
    HAND_OVER = "hand over"
    """Another command takes over."""


class Supervisor:
    """Supervises the daemons of one home. Each home has at most one."""

    def __init__(self, daemons: Daemons) -> None:
        self._daemons = daemons
        self._ending: ExitReason | None = None

    def run(self, report: Report) -> ExitReason:
        """Supervise until a signal arrives. Call it in the main thread."""
        endings = {
            signal.SIGINT: ExitReason.STOP,
            signal.SIGTERM: ExitReason.STOP,
            signal.SIGHUP: ExitReason.STOP,  # the terminal was closed
            HAND_OVER: ExitReason.HAND_OVER,
        }

        def end(number: int, frame: FrameType | None) -> None:
            self._ending = self._ending or endings[signal.Signals(number)]

        before = {number: signal.signal(number, end) for number in endings}
        path = self._daemons.layout.daemon_file("supervisor")
        try:
            write_record(path, own_handle())
            self._daemons.watch(report, lambda: self._ending is not None)
        finally:
            with suppress(OSError):  # a stale record is ignored
                path.unlink(missing_ok=True)
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._ending or ExitReason.HAND_OVER


def running_supervisor(layout: Layout) -> ProcessHandle | None:
    """The supervisor of this home, if there is one."""
    handle = read_record(layout.daemon_file("supervisor"))
    return handle if handle is not None and is_alive(handle) else None


def hand_over(layout: Layout, timeout_s: float = 10.0) -> bool:
    """Make the supervisor exit without stopping the daemons. True if there was one."""
    handle = running_supervisor(layout)
    if handle is None:
        return False
    os.kill(handle.pid, HAND_OVER)
    deadline = time.monotonic() + timeout_s
    while running_supervisor(layout) is not None:
        if time.monotonic() > deadline:
            os.kill(handle.pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    return True
