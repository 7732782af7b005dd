"""A process that prints where it listens: started and stopped by a `with` block."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

_POLL_S = 0.01


class AnnouncedProcess:
    """Use it as a context manager; at the block's end it is stopped, with SIGTERM first."""

    def __init__(
        self,
        command: Sequence[str],
        announced: str,
        *,
        env: Mapping[str, str] | None = None,
        start_timeout_s: float = 60.0,
    ) -> None:
        """``announced``: a pattern; its groups are `found` when it has been printed. ``env`` is
        added to our own environment."""
        self._command = list(command)
        self._announced = re.compile(announced, re.MULTILINE)
        self._env = {**os.environ, **(env or {})}
        self._start_timeout_s = start_timeout_s
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed with this object)
        self._process: subprocess.Popen[bytes] | None = None
        self.found: tuple[str, ...] = ()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """Its output so far, stdout and stderr together."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns when it is ready; raises RuntimeError, with its output, if it is not ready
        in time."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=self._env,
        )
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if match := self._announced.search(self.output):
                self.found = match.groups()
                if self.is_ready():
                    return
            if self._process.poll() is not None:
                raise self._failure(f"exited with {self._process.returncode}")
            time.sleep(_POLL_S)
        raise self._failure(f"was not ready after {self._start_timeout_s:g} s")

    def is_ready(self) -> bool:
        """Whether it is ready, once it has printed the announcement."""
        return True

    def send_signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it with SIGKILL, and wait until it has exited."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait until it exits; returns the exit code."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self._failure(f"still ran after {timeout_s:g} s") from None

    def stop(self, timeout_s: float = 60.0) -> int:
        """Stop it with SIGTERM, or kill it after ``timeout_s``; returns the exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGTERM)
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

    def _failure(self, what: str) -> RuntimeError:
        return RuntimeError(f"{' '.join(self._command)} {what}. It printed:\n{self.output}")
