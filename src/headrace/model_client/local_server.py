"""``headrace serve`` as a child process on a free port, for commands that need a server of their
own."""

import ctypes
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from headrace.core.errors import HeadraceError

_ANNOUNCED = re.compile(r" at (https?://\S+)/v1$")
_STOP_TIMEOUT_S = 20.0
_SHOWN_LINES = 20
_PR_SET_PDEATHSIG = 1


class LocalServerError(HeadraceError):
    """The server ended before it accepted requests."""

    code = "local_server_failed"


class LocalServer:
    """A context manager: the server is ready in the block, and stopped at its end.

    Only this process has its API key. The server is in a process group of its own, so that Ctrl-C
    in the terminal reaches this process alone; on Linux, it ends with this process.
    """

    def __init__(self, arguments: Sequence[str], on_line: Callable[[str], None]) -> None:
        """arguments: of ``headrace serve``; on_line: called with each line of its start-up."""
        self._arguments = list(arguments)
        self._on_line = on_line
        self._process: subprocess.Popen[str] | None = None
        self._last_lines: deque[str] = deque(maxlen=_SHOWN_LINES)
        self.api_key = secrets.token_urlsafe(24)
        self.base_url = ""
        """http://host:port, once it is ready."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "headrace", "serve", *self._arguments]
        self._process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "HEADRACE_API_KEY": self.api_key},
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        try:
            self._wait_ready(self._process)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def last_lines(self) -> str:
        """The end of what it wrote."""
        return "\n".join(self._last_lines)

    def _wait_ready(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            line = line.rstrip("\n")
            self._last_lines.append(line)
            if match := _ANNOUNCED.search(line):
                self.base_url = match[1]
                threading.Thread(target=self._read_rest, args=(process,), daemon=True).start()
                return
            self._on_line(line)
        code = process.wait()
        errors = [line for line in self._last_lines if line.startswith("Error: ")]
        reason = errors[-1].removeprefix("Error: ") if errors else self.last_lines
        raise LocalServerError(f"The model server exited with code {code}. {reason}".rstrip())

    def _read_rest(self, process: subprocess.Popen[str]) -> None:
        """Read on, so that the server never waits for a full pipe."""
        assert process.stdout is not None
        for line in process.stdout:
            self._last_lines.append(line.rstrip("\n"))

    def _stop(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    """In the child: get SIGTERM when the thread that started it ends (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
