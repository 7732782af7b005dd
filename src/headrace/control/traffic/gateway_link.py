"""Reads the gateway's stats and request records from its admin port.

An unreachable gateway is not an error: it may be restarting.
"""

from typing import TypeVar

import aiohttp
import msgspec

from headrace.core.gateway_stats import GatewayStats
from headrace.core.request_records import RequestQuery, RequestRecord

_TIMEOUT_S = 2.0

_T = TypeVar("_T")


class GatewayLink:
    """One HTTP session, for one event loop. Close it at the end."""

    def __init__(self, admin_url: str) -> None:
        self._url = admin_url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._stats_decoder = msgspec.json.Decoder(GatewayStats)
        self._records_decoder = msgspec.json.Decoder(list[RequestRecord])

    async def stats(self) -> GatewayStats | None:
        """The current stats; None if the gateway does not respond with valid ones."""
        return await self._get("stats", {}, self._stats_decoder)

    async def requests(self, query: RequestQuery) -> list[RequestRecord] | None:
        """The newest requests that match, oldest first; None if the gateway does not respond with
        valid ones."""
        given = msgspec.to_builtins(query)
        parameters = {name: str(value) for name, value in given.items() if value is not None}
        return await self._get("requests", parameters, self._records_decoder)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _get(
        self, path: str, parameters: dict[str, str], decoder: msgspec.json.Decoder[_T]
    ) -> _T | None:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        try:
            async with self._session.get(f"{self._url}/{path}", params=parameters) as response:
                return decoder.decode(await response.read())
        except (OSError, aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
            return None
