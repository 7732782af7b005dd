"""A real gateway in a process of its own, and the route table that it follows."""

import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import msgspec

from headrace.core.gateway_stats import GatewayStats
from headrace.core.request_records import RequestRecord
from headrace.core.routes import RouteTable, ServiceRoute
from headrace.testing.processes.announced_process import AnnouncedProcess

_POLL_S = 0.01


class GatewayProcess(AnnouncedProcess):
    """``python -m headrace.gateway``."""

    def __init__(self, folder: Path, *arguments: str, port: int = 0) -> None:
        self.routes = folder / "routes.json"
        super().__init__(
            (
                *(sys.executable, "-m", "headrace.gateway", "--routes", str(self.routes)),
                *("--port", str(port), "--admin-port", "0", *arguments),
            ),
            r"gateway at https?://[\d.]+:(\d+), admin at http://[\d.]+:(\d+)$",
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

    def requests(self, **query: object) -> list[RequestRecord]:
        """The records that match, oldest first."""
        url = f"{self.admin_url}/requests?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30.0) as response:
            return msgspec.json.decode(response.read(), type=list[RequestRecord])
