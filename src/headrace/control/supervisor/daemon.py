"""One long-running process of the platform: started, found again, health-checked, stopped.

Its pid is recorded in a file, so that later commands find it.
"""

import errno
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from headrace.control.errors import LaunchError, cause_of
from headrace.control.processes.process_group import (
    is_alive,
    is_named,
    kill_group,
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
    """How a daemon is run."""

    name: str
    command: tuple[str, ...]
    health_url: str
    listens_on: tuple[tuple[str, int], ...]
    record: Path
    log: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the inherited variables; takes precedence."""
    inherited: Callable[[Mapping[str, str]], Mapping[str, str]] = dict
    """Selects the variables that it inherits from the starting process."""


class Daemon:
    """A process of the platform, running or not."""

    def __init__(self, plan: DaemonPlan) -> None:
        self.plan = plan
        self._log_begin = 0
        """The log's size when it was started here."""
        self._unrecorded: ProcessHandle | None = None
        """The process that was started here, if its record could not be written."""

    def running(self) -> ProcessHandle | None:
        """Its process, if it runs."""
        unrecorded = self._unrecorded
        if unrecorded is not None and is_named(unrecorded, self.plan.name):
            self._record_if_possible(unrecorded)
            return unrecorded
        self._unrecorded = None
        handle = read_record(self.plan.record)
        return handle if handle is not None and is_named(handle, self.plan.name) else None

    def refuse_taken_addresses(self) -> None:
        """Raises LaunchError if one of its addresses is in use or unusable."""
        for host, port in self.plan.listens_on:
            _refuse_taken(host, port)

    def start(self, *, requires_files: bool = True) -> ProcessHandle:
        """Start it. Raises LaunchError if an address is in use or the process cannot be started.

        With ``requires_files=False`` a log or a record that cannot be written is not an error: it
        runs without a log, and `running` writes the record later.
        """
        self.refuse_taken_addresses()
        self._log_begin = _size(self.plan.log)
        try:
            handle = self._start_group(self.plan.log)
        except OSError as error:
            if requires_files:
                raise self._launch_error(error) from None
            try:
                handle = self._start_group(None)
            except OSError as error:
                raise self._launch_error(error) from None
        if not requires_files:
            self._record_if_possible(handle)
            return handle
        try:
            write_record(self.plan.record, handle)
        except OSError as error:
            kill_group(handle)
            raise self._launch_error(error) from None
        return handle

    def _start_group(self, log: Path | None) -> ProcessHandle:
        return start_group(
            self.plan.command,
            name=self.plan.name,
            env={**self.plan.inherited(os.environ), **self.plan.env},
            folder=self.plan.record.parent,
            log=log,
        )

    def _record_if_possible(self, handle: ProcessHandle) -> None:
        try:
            write_record(self.plan.record, handle)
        except OSError:
            self._unrecorded = handle
        else:
            self._unrecorded = None

    def _launch_error(self, error: OSError) -> LaunchError:
        return LaunchError(f"Cannot start the {self.plan.name}: {cause_of(error)}")

    def wait_healthy(self, handle: ProcessHandle, timeout_s: float) -> None:
        """Wait until it is healthy. Raises LaunchError, with the end of its log, if it is not."""
        deadline = time.monotonic() + timeout_s
        while not self.is_healthy():
            if not is_alive(handle):
                raise LaunchError(f"The {self.plan.name} exited at startup. {self.log_tail()}")
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"The {self.plan.name} is not healthy after {timeout_s:g} s. {self.log_tail()}"
                )
            time.sleep(_POLL_S)

    def is_healthy(self) -> bool:
        try:
            response = httpx2.get(
                self.plan.health_url,
                verify=_any_server(),
                trust_env=False,
                timeout=_PROBE_TIMEOUT_S,
            )
        except (httpx2.HTTPError, OSError):
            return False
        return response.status_code == 200

    def stop(self, timeout_s: float, *, on_wait: Callable[[], None] | None = None) -> bool:
        """Send SIGTERM, and SIGKILL after ``timeout_s``. True if it was running."""
        handle = self.running()
        if handle is None:
            self._remove_record()
            return False
        signal_group(handle, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while is_alive(handle):
            if time.monotonic() > deadline:
                signal_group(handle, signal.SIGKILL)
            if on_wait is not None:
                on_wait()
            time.sleep(_POLL_S)
        self._remove_record()
        return True

    def _remove_record(self) -> None:
        self._unrecorded = None
        with suppress(OSError):  # a stale record is ignored
            self.plan.record.unlink(missing_ok=True)

    def log_tail(self) -> str:
        """The path of its log, and the last lines since it was started here."""
        try:
            content = self.plan.log.read_bytes()[self._log_begin :]
        except OSError:
            content = b""
        lines = content.decode(errors="replace").splitlines()[-_NUM_LOG_LINES:]
        tail = " | ".join(line.strip() for line in lines if line.strip())
        return f"Last lines of {self.plan.log}: {tail or '(empty)'}"


def _any_server() -> ssl.SSLContext:
    """For health checks of our own process; no credentials are sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _refuse_taken(host: str, port: int) -> None:
    """The gateway sets SO_REUSEPORT, so its own bind would not detect a conflict."""
    if not host:
        raise LaunchError("The gateway's host is empty. Set it: headrace up --host ADDRESS.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise LaunchError(
                f"Cannot listen on {host} port {port} ({error.strerror}). {_remedy(error)}"
            ) from None


def _remedy(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "Use an address of this machine: headrace up --host ADDRESS."
    other_ports = (
        "use other ports: headrace up --port N --admin-port N --api-port N --monitoring-port N."
    )
    if error.errno == errno.EACCES:
        return f"Ports below 1024 require root; {other_ports}"
    return f"Stop the process that listens there, or {other_ports}"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
