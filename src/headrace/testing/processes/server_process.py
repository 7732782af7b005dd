"""A real ``headrace serve`` in a separate process, for tests from end to end.

It uses the command line and the line that announces the address.
"""

import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx2

from headrace.testing.processes.announced_process import AnnouncedProcess


class ServerProcess(AnnouncedProcess):
    """Starts the server on a free port and waits until it is healthy."""

    def __init__(
        self,
        *arguments: str,
        command: Sequence[str] = (sys.executable, "-m", "headrace", "serve"),
        env: Mapping[str, str] | None = None,
        start_timeout_s: float = 120.0,
        cafile: Path | None = None,
    ) -> None:
        """cafile: the certificate to trust, for a server with TLS."""
        super().__init__(
            (*command, *arguments, "--port", "0"),
            r" at (https?://\S+)/v1$",
            env=env,
            start_timeout_s=start_timeout_s,
        )
        self._tls = (
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if cafile is None
            else ssl.create_default_context(cafile=cafile)
        )

    @property
    def url(self) -> str:
        """http://host:port or https://host:port, once started."""
        return self.found[0]

    @property
    def core_pid(self) -> int:
        """The engine core's process, which is the server's only child (Linux)."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as children:
            return int(children.read().split()[0])

    def is_ready(self) -> bool:
        try:
            response = httpx2.get(
                f"{self.url}/health", timeout=5.0, verify=self._tls, trust_env=False
            )
        except httpx2.HTTPError:
            return False
        return response.status_code == 200
