"""Reads the gateway's stats from its admin port.

An unreachable gateway is not an error: it may be restarting.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import msgspec

from headrace.core.gateway_stats import GatewayStats

_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class StatsScrape:
    """Stats and when they arrived."""

    at_s: float
    """Of the link's clock, which is monotonic."""
    stats: GatewayStats


class GatewayLink:
    """One HTTP session, and the last stats. Close it at the end."""

    def __init__(self, admin_url: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._last: StatsScrape | None = None
        self._url = f"{admin_url.rstrip('/')}/stats"
        self._session: aiohttp.ClientSession | None = None
        self._decoder = msgspec.json.Decoder(GatewayStats)

    async def stats(self) -> GatewayStats | None:
        """The current stats; None if the gateway does not respond with valid ones."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        try:
            async with self._session.get(self._url) as response:
                stats = self._decoder.decode(await response.read())
        except (OSError, aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
            return None
        self._last = StatsScrape(self._clock_s(), stats)
        return stats

    async def recent(self, max_age_s: float) -> StatsScrape | None:
        """The last stats if they are recent enough, else the current ones."""
        last = self._last
        if last is not None and self._clock_s() - last.at_s < max_age_s:
            return last
        return None if await self.stats() is None else self._last

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
