"""Health probes: an HTTP GET, or a TCP connection for ports that are not HTTP."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import aiohttp

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
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Probes":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True), trust_env=False
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

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
        except aiohttp.ClientConnectorError:
            return ProbeResult(False, f"nothing listens on port {port}")
        except (OSError, aiohttp.ClientError) as error:
            return ProbeResult(False, f"{type(error).__name__} on port {port}")

    async def _get(self, host: str, port: int, path: str) -> ProbeResult:
        if self._session is None:
            raise RuntimeError("Probes must be entered before they are used")
        url = f"http://{host}:{port}{path}"
        async with self._session.get(url, allow_redirects=False) as response:
            is_healthy = response.status < 400 or response.status in _NO_HEALTH_PAGE
            return ProbeResult(is_healthy, f"GET {path} returned {response.status}")

    async def _connect(self, host: str, port: int) -> ProbeResult:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return ProbeResult(True, f"port {port} accepts connections")
