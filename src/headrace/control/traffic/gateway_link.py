"""Reads the gateway's stats from its admin port.

An unreachable gateway is not an error: it may be restarting.
"""

import aiohttp
import msgspec

from headrace.core.gateway_stats import GatewayStats

_TIMEOUT_S = 2.0


class GatewayLink:
    """One HTTP session. Close it at the end."""

    def __init__(self, admin_url: str) -> None:
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
                return self._decoder.decode(await response.read())
        except (OSError, aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
            return None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
