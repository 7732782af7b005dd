"""A real platform with a separate home, for tests from end to end.

What is done to it goes through the command line, as a user does it. What a test waits for is read
from the API, since a command takes as long to start as what it waits for.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from headrace.control.api.responses import EventView, RevisionView
from headrace.control.client import ControlClient, find_credentials
from headrace.control.errors import ControlApiError
from headrace.control.layout import Layout
from headrace.control.processes.ports import find_free_port

_COMMAND_TIMEOUT_S = 120.0
_POLL_S = 0.05


class PlatformProcess:
    """``headrace up -d`` on free ports; ``headrace down`` at the end of the block."""

    def __init__(
        self,
        home: Path,
        *options: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.home = home
        self.port = find_free_port()
        self.admin_port = find_free_port({self.port})
        self.api_port = find_free_port({self.port, self.admin_port})
        self._options = options
        self._env = env or {}
        self.cwd = cwd or home
        """The working directory of the commands."""

    @property
    def url(self) -> str:
        """Of the gateway."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def up_options(self) -> tuple[str, ...]:
        """Of ``headrace up``: its ports, and the options that were given."""
        ports = {
            "--port": self.port,
            "--admin-port": self.admin_port,
            "--api-port": self.api_port,
        }
        return (*(str(word) for pair in ports.items() for word in pair), *self._options)

    def up(self) -> str:
        """Start it in the background; returns its output."""
        return self.run("up", "-d", *self.up_options)

    def try_up(self) -> subprocess.CompletedProcess[str]:
        """Start it, which may fail."""
        return self.try_run("up", "-d", *self.up_options)

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Run a command as a user would; returns its stdout. Raises RuntimeError if it fails."""
        done = self.try_run(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise RuntimeError(
                f"headrace {' '.join(arguments)}: exit code {done.returncode}\n"
                f"{done.stdout}\n{done.stderr}\n{self.logs()}"
            )
        return done.stdout

    def try_run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command, which may fail."""
        return subprocess.run(
            [sys.executable, "-m", "headrace", *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
            cwd=self.cwd,
            env={**os.environ, **self._env, "HEADRACE_HOME": str(self.home)},
        )

    def run_json(self, *arguments: str) -> Any:
        """Run a command with ``--json`` and parse its output."""
        return json.loads(self.run(*arguments, "--json"))

    def client(self) -> ControlClient:
        """A new one, with the credentials in the home. Raises ControlApiError if there are none."""
        return ControlClient(find_credentials(Layout(self.home), {}))

    def api_answers(self) -> bool:
        try:
            with self.client() as client:
                client.services()
        except ControlApiError:
            return False
        return True

    def revision(self, service: str, number: int) -> RevisionView:
        with self.client() as client:
            return client.revision(service, number)

    def events(self, service: str) -> list[EventView]:
        """The newest hundred of a service, oldest first."""
        with self.client() as client:
            return client.events(service=service)

    def pid_of(self, daemon: str) -> int:
        """Of ``gateway``, ``control`` or ``supervisor``."""
        record = json.loads((self.home / "control" / f"{daemon}.json").read_text())
        return int(record["pid"])

    def wait_until(
        self, condition: Callable[[], bool], what: str, timeout_s: float = 120.0
    ) -> None:
        """Poll; raises RuntimeError, with all logs, if the condition does not hold in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"not within {timeout_s:g} s: {what}\n{self.logs()}")
            time.sleep(_POLL_S)

    def wait_running(self, service: str, number: int, timeout_s: float = 120.0) -> None:
        """Wait until a revision runs."""
        self.wait_until(
            lambda: self.revision(service, number).status == "running",
            f"revision {number} of {service} runs",
            timeout_s,
        )

    def logs(self) -> str:
        """The end of every log."""
        paths = [
            *sorted((self.home / "control" / "logs").glob("*.log")),
            *sorted((self.home / "replicas").glob("*/log")),
            *sorted((self.home / "runs").glob("*/log")),
        ]
        return "\n".join(f"--- {path}\n{path.read_text()[-2000:]}" for path in paths)

    def __enter__(self) -> "PlatformProcess":
        self.home.mkdir(parents=True, exist_ok=True)
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.run("down")
