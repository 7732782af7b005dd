"""Asks the gateway how it is.

Knows one page of its admin address. A gateway that does not answer is no error: it may be starting,
and traffic flows by the table on its disk.
"""

import aiohttp
import msgspec

from headrace.core.gateway_stats import GatewayStats

_TIMEOUT_S = 2.0


class GatewayLink:
    """One connection, kept. Close it at the end."""

    def __init__(self, admin_url: str) -> None:
        self._url = f"{admin_url.rstrip('/')}/stats"
        self._session: aiohttp.ClientSession | None = None
        self._decoder = msgspec.json.Decoder(GatewayStats)

    async def stats(self) -> GatewayStats | None:
        """What it tells now, or None if it does not answer as a gateway does."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        try:
            async with self._session.get(self._url) as response:
                return self._decoder.decode(await response.read())
        except (OSError, aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
            return None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
