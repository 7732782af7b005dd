"""The servers to compare: starts them, waits until they are ready, stops all their processes."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from headrace.bench.errors import OptionError, ServerError
from headrace.bench.http.address import Address, parse_address, plain_base_url
from headrace.bench.http.get import NoReplyError, get
from headrace.bench.http.server_info import ServerInfo, ask_server, find_target
from headrace.bench.http.tls import client_context
from headrace.bench.records import BenchTarget
from headrace.bench.redaction import without_secrets

_POLL_S = 0.25
_PROBE_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 30.0
_SAY_EVERY_S = 15.0


class Server:
    """A server to compare: a command to start, or the address of a running server."""

    def __init__(self, name: str, written: str, model: str | None, log_path: Path) -> None:
        """written: a command with "{port}" in it, or http://host:port. The model defaults to the
        first one of /v1/models."""
        self.name = name
        self.log_path = log_path
        """Output of the command, over all its starts; an older file is overwritten."""
        self.start_s: list[float] = []
        """Per start, seconds until it was ready."""
        self.target = BenchTarget(name, "", "")
        """Address and model; set once it has started."""
        self.info = ServerInfo("")
        """What it reports about itself; set once it has started."""
        self._written = written
        self._model = model
        self._process: subprocess.Popen[bytes] | None = None
        if not self.is_command:
            parse_address(written)
        elif "{port}" not in written:
            raise OptionError(
                f"{name}: the command needs {{port}} in place of its port (or give the "
                f"http://host:port of a running server): {self.shown}"
            )

    @property
    def is_command(self) -> bool:
        """Whether it is started and stopped by this script."""
        return not self._written.startswith(("http://", "https://"))

    @property
    def shown(self) -> str:
        """Its command or address, without secrets."""
        return hide_secrets(self._written)

    def start(self, timeout_s: float) -> None:
        """Start it, if it is a command, and wait until it is ready."""
        started_s = time.monotonic()
        if not self.is_command:
            base_url = plain_base_url(self._written)
        else:
            port = _free_port()
            base_url = f"http://127.0.0.1:{port}"
            say(f"{self.name}: starting {self.shown}, port {port}")
            self._launch(shlex.split(self._written.replace("{port}", str(port))))
        self._wait_ready(base_url, started_s, timeout_s)
        if self.is_command:
            self.start_s.append(time.monotonic() - started_s)
        self.target = find_target(base_url, self._model, name=self.name)
        self.info = ask_server(self.target)
        say(f"{self.name}: ready at {base_url} after {time.monotonic() - started_s:.1f} s")

    def stop(self) -> None:
        """Stop its processes: SIGTERM to the first, then SIGKILL to the rest of the session."""
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
            say(f"{self.name}: still running after {_STOP_TIMEOUT_S:g} s, killed")
            self._signal_all(signal.SIGKILL)
        self._process.wait()
        self._process = None

    @property
    def is_up(self) -> bool:
        """Whether it was started here and not stopped."""
        return self._process is not None

    def cpu_s(self) -> float:
        """CPU seconds of all its processes; needs is_up."""
        return sum(_cpu_s(pid) for pid in self._pids())

    def check_alive(self) -> None:
        """Raises ServerError, with the end of its log, if its first process has exited."""
        if self._process is not None and self._process.poll() is not None:
            raise ServerError(
                f"{self.name}: the server exited with {self._process.returncode}\n{self._log_end()}"
            )

    def _launch(self, command: list[str]) -> None:
        with self.log_path.open("ab" if self.start_s else "wb") as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # to find all its processes
                )
            except OSError as error:
                raise ServerError(f"{self.name}: cannot start {command[0]}: {error}") from None

    def _wait_ready(self, base_url: str, started_s: float, timeout_s: float) -> None:
        said_s = started_s
        while not _is_ready(base_url):
            self.check_alive()
            now_s = time.monotonic()
            if now_s > started_s + timeout_s:
                raise ServerError(
                    f"{self.name}: not ready at {base_url} after {timeout_s:g} s "
                    f"(see --start-timeout)\n{self._log_end()}"
                )
            if now_s > said_s + _SAY_EVERY_S:
                said_s = now_s
                say(f"{self.name}: still starting, {now_s - started_s:.0f} s")
            time.sleep(_POLL_S)

    def _pids(self) -> list[int]:
        """All processes of its session, orphans included."""
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
    """Print progress to stderr; stdout has the tables."""
    print(line, file=sys.stderr, flush=True)


def hide_secrets(written: str) -> str:
    """The command line, with secrets replaced by ``***``."""
    return " ".join(without_secrets(written.split(" ")))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_ready(base_url: str) -> bool:
    address = parse_address(base_url)
    status = _status(address, "/health")
    if status in (404, 405):  # a server without that route
        status = _status(address, "/v1/models")
    return status == 200


def _status(address: Address, path: str) -> int | None:
    """None without a response."""
    tls = client_context(address.is_tls, None)
    try:
        return get(address, path, tls=tls, timeout_s=_PROBE_TIMEOUT_S).status
    except NoReplyError:
        return None


def _is_alive(pid: int) -> bool:
    return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def _cpu_s(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)
