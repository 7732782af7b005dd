"""The servers to compare: starts them, waits until they answer, stops all that they started.

Knows no workload.
"""

import asyncio
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from client import Address

_POLL_S = 0.25
_PROBE_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 30.0
_SAY_EVERY_S = 15.0


class ServerError(Exception):
    """A server that did not start, or died."""


class Server:
    """One side of the comparison: a command to run, or a server that runs already."""

    def __init__(self, name: str, target: str, log_path: Path) -> None:
        """target: a command with "{port}" in it, or http://host:port."""
        self.name = name
        self.target = target
        self.log_path = log_path
        """What the command prints, of all its starts; one from before is overwritten."""
        self.address = Address("127.0.0.1", 0)
        self.start_s: list[float] = []
        """By start, seconds until it answered."""
        self.version: object = None
        """What GET /version says, if it has that."""
        self.model = ""
        """The first of GET /v1/models."""
        self._process: subprocess.Popen[bytes] | None = None
        if target.startswith("http://"):
            url = urlsplit(target)
            if url.hostname is None or url.path not in ("", "/"):
                raise ServerError(f"{name}: give the address as http://host:port, without a path")
            self.address = Address(url.hostname, url.port or 80)
        elif "{port}" not in target:
            raise ServerError(
                f"{name}: the command needs {{port}} where its port goes (or give http://host:port "
                f"of a server that runs): {target}"
            )

    @property
    def is_command(self) -> bool:
        """Whether it is started and stopped here."""
        return not self.target.startswith("http://")

    async def start(self, timeout_s: float) -> None:
        """Start it, if it is a command, and wait until it answers."""
        started_s = time.monotonic()
        if self.is_command:
            self.address = Address("127.0.0.1", _free_port())
            command = shlex.split(self.target.replace("{port}", str(self.address.port)))
            say(f"{self.name}: starting {shlex.join(command)}")
            with self.log_path.open("ab" if self.start_s else "wb") as log:
                try:
                    self._process = subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,  # so that all its processes are found at the end
                    )
                except OSError as error:
                    raise ServerError(
                        f"{self.name}: {command[0]} does not start: {error}"
                    ) from None
        await self._wait_ready(started_s, timeout_s)
        if self.is_command:
            self.start_s.append(time.monotonic() - started_s)
        self.model = await self._first_model()
        self.version = await asyncio.to_thread(_get_json, self.address, "/version")
        say(f"{self.name}: answers at {self.address} after {time.monotonic() - started_s:.1f} s")

    def stop(self) -> None:
        """End its processes: SIGTERM to the first, then SIGKILL to what is left of the session."""
        if self._process is None:
            return
        say(f"{self.name}: stopping")
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        while time.monotonic() < deadline_s and (self._process.poll() is None or self._pids()):
            if self._process.poll() is not None:
                self._signal_all(signal.SIGTERM)
            time.sleep(_POLL_S)
        if self._process.poll() is None or self._pids():
            say(f"{self.name}: did not end in {_STOP_TIMEOUT_S:g} s, killed")
            self._signal_all(signal.SIGKILL)
        self._process.wait()
        self._process = None

    @property
    def is_up(self) -> bool:
        """Whether its processes are here: started, and not stopped."""
        return self._process is not None

    def cpu_s(self) -> float:
        """Processor seconds of all its living processes; needs is_up."""
        return sum(_cpu_s(pid) for pid in self._pids())

    def rss_bytes(self) -> int:
        """Memory that it has now, pages that two of its processes share counted twice; needs
        is_up."""
        return sum(_rss_bytes(pid) for pid in self._pids())

    def check_alive(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            raise ServerError(
                f"{self.name}: the server ended with {self._process.returncode}\n{self._log_end()}"
            )

    async def _wait_ready(self, started_s: float, timeout_s: float) -> None:
        said_s = started_s
        while not await asyncio.to_thread(_is_ready, self.address):
            self.check_alive()
            now_s = time.monotonic()
            if now_s > started_s + timeout_s:
                raise ServerError(
                    f"{self.name}: did not answer at {self.address} in {timeout_s:g} s "
                    f"(--start-timeout gives it more)\n{self._log_end()}"
                )
            if now_s > said_s + _SAY_EVERY_S:
                said_s = now_s
                say(f"{self.name}: still starting, {now_s - started_s:.0f} s")
            await asyncio.sleep(_POLL_S)

    async def _first_model(self) -> str:
        models = await asyncio.to_thread(_get_json, self.address, "/v1/models")
        try:
            return str(models["data"][0]["id"])
        except (TypeError, KeyError, IndexError):
            raise ServerError(f"{self.name}: {self.address}/v1/models names no model") from None

    def _pids(self) -> list[int]:
        """All processes of its session, children whose parent has gone included."""
        assert self._process is not None
        pids = []
        for pid in psutil.pids():
            try:
                if os.getsid(pid) == self._process.pid and _is_alive(pid):
                    pids.append(pid)
            except (OSError, psutil.Error):
                continue
        return pids

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self._pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _log_end(self) -> str:
        if not self.is_command:
            return ""
        lines = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join([f"The end of {self.log_path}:", *(f"  {line}" for line in lines[-20:])])


def say(line: str) -> None:
    """Progress goes to stderr, so that stdout has the tables alone."""
    print(line, file=sys.stderr, flush=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_ready(address: Address) -> bool:
    status = _get(address, "/health")[0]
    if status in (404, 405):  # a server without that route
        status = _get(address, "/v1/models")[0]
    return status == 200


def _get_json(address: Address, path: str) -> Any:
    status, body = _get(address, path)
    if status != 200:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return None


def _get(address: Address, path: str) -> tuple[int | None, bytes]:
    """Status and body; no status when nobody answers."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()


def _is_alive(pid: int) -> bool:
    return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def _cpu_s(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _rss_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
