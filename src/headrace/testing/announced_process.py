"""A process that prints where it listens: started on a free port, stopped at the block's end.

Knows the line that each of them prints, nothing of what they do.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from headrace.core.gateway_stats import GatewayStats
from headrace.core.routes import ReplicaRoute, RouteTable, ServiceRoute

_POLL_S = 0.01


class AnnouncedProcess:
    """Use it as a context manager."""

    def __init__(self, module: str, arguments: Sequence[str], announced: str) -> None:
        """``announced``: a pattern; its groups are `found` when it has been printed."""
        self._module = module
        self._arguments = arguments
        self._announced = re.compile(announced, re.MULTILINE)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this does)
        self._process: subprocess.Popen[bytes] | None = None
        self.found: tuple[str, ...] = ()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """All that it has printed so far, stdout and stderr together."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def start(self, timeout_s: float = 60.0) -> None:
        """Returns when it listens; raises RuntimeError, with its output, if it does not."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if match := self._announced.search(self.output):
                self.found = match.groups()
                return
            if self._process.poll() is not None:
                break
            time.sleep(_POLL_S)
        raise RuntimeError(f"{self._module} did not start. It printed:\n{self.output}")

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self, timeout_s: float = 60.0) -> int:
        """End it with SIGTERM, or kill it after ``timeout_s``; returns the exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait for its end, or kill it after ``timeout_s``; returns the exit code."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self._log.close()


class _ReplicaProcess(AnnouncedProcess):
    """Something that a gateway can route to."""

    def __init__(self, name: str, module: str, arguments: Sequence[str]) -> None:
        super().__init__(module, ("--port", "0", *arguments), r"at http://[\d.]+:(\d+)/v1$")
        self.name = name

    @property
    def port(self) -> int:
        return int(self.found[0])

    @property
    def route(self) -> ReplicaRoute:
        return ReplicaRoute(self.name, "127.0.0.1", self.port)


class MockServerProcess(_ReplicaProcess):
    """``python -m headrace.testing.mock_server``."""

    def __init__(self, *arguments: str, name: str = "mock") -> None:
        super().__init__(name, "headrace.testing.mock_server", ("--name", name, *arguments))


class BlockingServerProcess(_ReplicaProcess):
    """``python -m headrace.testing.blocking_server``."""

    def __init__(self, name: str = "blocking") -> None:
        super().__init__(name, "headrace.testing.blocking_server", ())


class GatewayProcess(AnnouncedProcess):
    """``python -m headrace.gateway`` with a route table of its own."""

    def __init__(self, folder: Path, *arguments: str, port: int = 0) -> None:
        self.routes = folder / "routes.json"
        routes_and_ports = ("--routes", str(self.routes), "--port", str(port), "--admin-port", "0")
        super().__init__(
            "headrace.gateway",
            (*routes_and_ports, *arguments),
            r"gateway at http://[\d.]+:(\d+), admin at http://[\d.]+:(\d+)$",
        )
        self._version = 0

    @property
    def port(self) -> int:
        return int(self.found[0])

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.found[1]}"

    def follow(self, *services: ServiceRoute, timeout_s: float = 30.0) -> None:
        """Give it a new route table, and wait until it follows it."""
        self._version += 1
        new = self.routes.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(RouteTable(self._version, services)))
        new.replace(self.routes)
        deadline = time.monotonic() + timeout_s
        while self.stats().routes_version != self._version:
            if time.monotonic() > deadline:
                raise RuntimeError(f"The gateway does not follow. It printed:\n{self.output}")
            time.sleep(_POLL_S)

    def stats(self) -> GatewayStats:
        with urllib.request.urlopen(f"{self.admin_url}/stats", timeout=30.0) as response:
            return msgspec.json.decode(response.read(), type=GatewayStats)
