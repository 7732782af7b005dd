"""Reads the gateway's stats, usage and request records from its admin port.

An unreachable gateway is not an error: it may be restarting.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from headrace.control.processes.local_http import LocalHttpClient
from headrace.core.gateway.request_records import RequestQuery, RequestRecord
from headrace.core.gateway.stats import GatewayStats
from headrace.core.gateway.usage import GatewayUsage

_TIMEOUT_S = 2.0
_MAX_NUM_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class StatsScrape:
    """Stats and when they arrived."""

    at_s: float
    """Of the link's clock, which is monotonic."""
    stats: GatewayStats


_T = TypeVar("_T")


class GatewayLink:
    """Reads stats and records, and stores the last stats. Close it at the end."""

    def __init__(self, admin_url: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._last: StatsScrape | None = None
        self._url = admin_url.rstrip("/")
        self._http = LocalHttpClient(_TIMEOUT_S)
        self._stats_decoder = msgspec.json.Decoder(GatewayStats)
        self._usage_decoder = msgspec.json.Decoder(GatewayUsage)
        self._records_decoder = msgspec.json.Decoder(list[RequestRecord])

    async def stats(self) -> GatewayStats | None:
        """The current stats; None if the gateway does not respond with valid ones."""
        stats = await self._get("stats", self._stats_decoder)
        if stats is not None:
            self._last = StatsScrape(self._clock_s(), stats)
        return stats

    async def recent(self, max_age_s: float) -> StatsScrape | None:
        """The last stats if they are recent enough, else the current ones."""
        last = self._last
        if last is not None and self._clock_s() - last.at_s < max_age_s:
            return last
        return None if await self.stats() is None else self._last

    async def requests(self, query: RequestQuery) -> list[RequestRecord] | None:
        """The newest requests that match, oldest first; None if the gateway does not respond with
        valid ones."""
        given = msgspec.to_builtins(query)
        parameters = {name: str(value) for name, value in given.items() if value is not None}
        return await self._get(f"requests?{urlencode(parameters)}", self._records_decoder)

    async def usage(self) -> GatewayUsage | None:
        """What it has counted; None if it does not respond with valid figures."""
        return await self._get("usage", self._usage_decoder)

    async def close(self) -> None:
        await self._http.close()

    async def _get(self, path: str, decoder: msgspec.json.Decoder[_T]) -> _T | None:
        page = await self._http.get(f"{self._url}/{path}", max_num_bytes=_MAX_NUM_BYTES)
        try:
            return None if page is None else decoder.decode(page)
        except msgspec.MsgspecError:
            return None
