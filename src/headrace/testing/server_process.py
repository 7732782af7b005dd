"""A real ``headrace serve`` in a process of its own, for tests from end to end.

Knows the command line and the line that announces the address, nothing inside the server.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from types import TracebackType

_SERVING = re.compile(r" at (http://\S+)/v1$", re.MULTILINE)
_POLL_S = 0.05


class ServerProcess:
    """Starts the server on a free port and waits until it is healthy.

    Use it as a context manager; at the block's end it is stopped, with SIGTERM first.
    """

    def __init__(
        self,
        *arguments: str,
        command: Sequence[str] = (sys.executable, "-m", "headrace", "serve"),
        env: Mapping[str, str] | None = None,
        start_timeout_s: float = 120.0,
    ) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as this does)
        self._start_timeout_s = start_timeout_s
        self._process = subprocess.Popen(
            [*command, *arguments, "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
        )
        self.url = ""
        """http://host:port, once started."""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def core_pid(self) -> int:
        """The engine core's process, which is the server's only child (Linux)."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as children:
            return int(children.read().split()[0])

    @property
    def output(self) -> str:
        """All that it has printed so far, stdout and stderr together."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def wait_ready(self) -> None:
        """Wait until it answers; raises RuntimeError, with its output, if it does not."""
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise self._failure(f"exited with {self._process.returncode}")
            if (match := _SERVING.search(self.output)) and _is_healthy(match[1]):
                self.url = match[1]
                return
            time.sleep(_POLL_S)
        raise self._failure(f"was not ready after {self._start_timeout_s:g} s")

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait for its end; returns the exit code."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self._failure(f"still ran after {timeout_s:g} s") from None

    def stop(self, timeout_s: float = 60.0) -> int:
        """End it with SIGTERM, or kill it after ``timeout_s``; returns the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def __enter__(self) -> "ServerProcess":
        try:
            self.wait_ready()
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

    def _failure(self, what: str) -> RuntimeError:
        return RuntimeError(f"The server {what}. It printed:\n{self.output}")


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5.0) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
