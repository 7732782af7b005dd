"""One long-running part of the platform: found again, started, waited for, stopped.

Knows no other part; `platform.py` puts them together. Who runs is kept in a file, so that a later
command finds it, whoever started it.
"""

import errno
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.control.errors import LaunchError
from headrace.control.processes.process_group import (
    is_alive,
    is_named,
    signal_group,
    start_group,
)
from headrace.control.processes.record import read_record, write_record
from headrace.control.resources import ProcessHandle

_POLL_S = 0.05
_PROBE_TIMEOUT_S = 2.0
_NUM_LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class DaemonPlan:
    """How one part is run."""

    name: str
    command: tuple[str, ...]
    health_url: str
    listens_on: tuple[tuple[str, int], ...]
    record: Path
    log: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


class Daemon:
    """One part of the platform, running or not."""

    def __init__(self, plan: DaemonPlan) -> None:
        self.plan = plan
        self._log_begin = 0
        """Where in its log begins what it said since it was started here."""

    def running(self) -> ProcessHandle | None:
        """The process that runs as this part, if one does."""
        handle = read_record(self.plan.record)
        return handle if handle is not None and is_named(handle, self.plan.name) else None

    def refuse_taken_addresses(self) -> None:
        """Raises LaunchError if something else listens where this part would."""
        for host, port in self.plan.listens_on:
            _refuse_taken(host, port)

    def start(self) -> ProcessHandle:
        """Start it. Raises LaunchError if its address is taken or it cannot begin."""
        self.refuse_taken_addresses()
        self._log_begin = _size(self.plan.log)
        try:
            handle = start_group(
                self.plan.command,
                name=self.plan.name,
                env={**os.environ, **self.plan.env},
                folder=self.plan.record.parent,
                log=self.plan.log,
            )
        except OSError as error:
            raise LaunchError(f"{self.plan.name} could not be started: {error}") from None
        write_record(self.plan.record, handle)
        return handle

    def wait_healthy(self, handle: ProcessHandle, timeout_s: float) -> None:
        """Wait until it answers. Raises LaunchError, with the end of its log, if it does not."""
        deadline = time.monotonic() + timeout_s
        while not self.is_healthy():
            if not is_alive(handle):
                raise LaunchError(f"The {self.plan.name} ended at once. {self.last_words()}")
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"The {self.plan.name} does not answer after {timeout_s:g} s. "
                    f"{self.last_words()}"
                )
            time.sleep(_POLL_S)

    def is_healthy(self) -> bool:
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(self.plan.health_url, timeout=_PROBE_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError, ValueError):
            return False

    def stop(self, timeout_s: float, *, on_wait: Callable[[], None] | None = None) -> bool:
        """SIGTERM, and SIGKILL after ``timeout_s``. True if something ran."""
        handle = self.running()
        if handle is None:
            self.plan.record.unlink(missing_ok=True)
            return False
        signal_group(handle, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while is_alive(handle):
            if time.monotonic() > deadline:
                signal_group(handle, signal.SIGKILL)
            if on_wait is not None:
                on_wait()
            time.sleep(_POLL_S)
        self.plan.record.unlink(missing_ok=True)
        return True

    def last_words(self) -> str:
        """Where its log is, and the last of what it said since it was started here."""
        try:
            said = self.plan.log.read_bytes()[self._log_begin :]
        except OSError:
            said = b""
        lines = said.decode(errors="replace").splitlines()[-_NUM_LOG_LINES:]
        told = " | ".join(line.strip() for line in lines if line.strip())
        return f"Its log ({self.plan.log}) ends with: {told or '(nothing)'}"


def _refuse_taken(host: str, port: int) -> None:
    """The gateway shares its port with its own successor, so binding would not tell."""
    if not host:
        raise LaunchError("The gateway needs an address: headrace up --host ADDRESS.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise LaunchError(
                f"Port {port} on {host} cannot be used ({error.strerror}). {_remedy(error)}"
            ) from None


def _remedy(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "Choose an address of this machine: headrace up --host ADDRESS."
    other_ports = "choose other ports: headrace up --port N --admin-port N --api-port N."
    if error.errno == errno.EACCES:
        return f"Ports below 1024 are an administrator's; {other_ports}"
    return f"Stop what listens there, or {other_ports}"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
