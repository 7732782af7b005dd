"""The status of the platform's processes."""

import time
from dataclasses import dataclass

import psutil

from headrace.control.layout import Layout
from headrace.control.resources import ProcessHandle
from headrace.control.supervisor.daemon import Daemon
from headrace.control.supervisor.daemons import Daemons
from headrace.control.supervisor.supervisor import running_supervisor


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One process of the platform."""

    name: str
    state: str
    """``running``, ``unhealthy`` or ``stopped``."""
    address: str
    pid: int | None
    uptime_s: float | None
    log: str | None


def supervisor_status(daemons: Daemons) -> list[PartStatus]:
    """Gateway, control plane, supervisor and, with monitoring, Prometheus, in this order."""
    parts = [
        _daemon_status(daemons.gateway, daemons.options.gateway_url),
        _daemon_status(daemons.control, daemons.options.api_url),
        _supervisor_status(daemons.layout),
    ]
    if daemons.prometheus is not None:
        parts.append(_daemon_status(daemons.prometheus, daemons.options.monitoring_url))
    return parts


def _daemon_status(daemon: Daemon, address: str) -> PartStatus:
    handle = daemon.running()
    if handle is None:
        return PartStatus(daemon.plan.name, "stopped", address, None, None, str(daemon.plan.log))
    return PartStatus(
        name=daemon.plan.name,
        state="running" if daemon.is_healthy() else "unhealthy",
        address=address,
        pid=handle.pid,
        uptime_s=_uptime_s(handle),
        log=str(daemon.plan.log),
    )


def _supervisor_status(layout: Layout) -> PartStatus:
    handle = running_supervisor(layout)
    return PartStatus(
        name="supervisor",
        state="stopped" if handle is None else "running",
        address="",
        pid=None if handle is None else handle.pid,
        uptime_s=None if handle is None else _uptime_s(handle),
        log=None,
    )


def _uptime_s(handle: ProcessHandle) -> float | None:
    try:
        return time.time() - float(psutil.Process(handle.pid).create_time())
    except psutil.Error:
        return None
