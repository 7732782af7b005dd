"""Health probes: an HTTP GET, or a TCP connection for ports that are not HTTP."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import httpx2

from headrace.control.processes.local_http import unused_tls_context

PortType = Literal["http", "tcp"]

_NO_HEALTH_PAGE = frozenset({401, 403, 404, 405, 501})
"""The server responds but has no health page, or requires credentials: it counts as healthy."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    is_healthy: bool
    why: str
    """The result for users."""
    is_timeout: bool = False
    """No response in time: the replica hangs, or is busy."""


class Probes:
    """Probes over separate connections, so that replicas do not affect each other.

    An asynchronous context manager.
    """

    def __init__(self) -> None:
        self._transport: httpx2.AsyncHTTPTransport | None = None

    async def __aenter__(self) -> "Probes":
        self._transport = httpx2.AsyncHTTPTransport(
            verify=unused_tls_context(),
            trust_env=False,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None

    async def check(
        self, host: str, port: int, *, path: str, port_type: PortType, timeout_s: float
    ) -> ProbeResult:
        """One probe. Never raises for anything that the replica does."""
        try:
            async with asyncio.timeout(timeout_s):
                if port_type == "tcp":
                    return await self._connect(host, port)
                return await self._get(host, port, path)
        except TimeoutError:
            return ProbeResult(False, f"no response within {timeout_s:g} s", is_timeout=True)
        except httpx2.ConnectError:
            return ProbeResult(False, f"nothing listens on port {port}")
        except (OSError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            return ProbeResult(False, f"{type(error).__name__} on port {port}")

    async def _get(self, host: str, port: int, path: str) -> ProbeResult:
        if self._transport is None:
            raise RuntimeError("Probes must be entered before they are used")
        request = httpx2.Request("GET", f"http://{host}:{port}{path}")
        response = await self._transport.handle_async_request(request)
        await response.aclose()
        status = response.status_code
        is_healthy = status < 400 or status in _NO_HEALTH_PAGE
        return ProbeResult(is_healthy, f"GET {path} returned {status}")

    async def _connect(self, host: str, port: int) -> ProbeResult:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return ProbeResult(True, f"port {port} accepts connections")
