"""A real gateway in a separate process, and its route table."""

import sys
import time
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from headrace.core.gateway.request_records import RequestRecord
from headrace.core.gateway.routes import RouteTable, ServiceRoute
from headrace.core.gateway.stats import GatewayStats
from headrace.testing.processes.announced_process import AnnouncedProcess
from headrace.testing.raw_http import request

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
        """Write a new route table, and wait until the gateway uses it."""
        self._version += 1
        new = self.routes.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(RouteTable(self._version, services)))
        new.replace(self.routes)
        deadline = time.monotonic() + timeout_s
        while self.stats().routes_version != self._version:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"The gateway does not load the route table. It printed:\n{self.output}"
                )
            time.sleep(_POLL_S)

    def stats(self) -> GatewayStats:
        return msgspec.json.decode(request(self.admin_url, "GET", "/stats").body, type=GatewayStats)

    def requests(self, **query: object) -> list[RequestRecord]:
        """The records that match, oldest first."""
        response = request(self.admin_url, "GET", f"/requests?{urlencode(query)}")
        return msgspec.json.decode(response.body, type=list[RequestRecord])
