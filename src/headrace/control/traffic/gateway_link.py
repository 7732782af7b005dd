"""Reads the gateway's stats from its admin port.

An unreachable gateway is not an error: it may be restarting.
"""

import msgspec

from headrace.control.processes.local_http import LocalHttpClient
from headrace.core.gateway_stats import GatewayStats

_TIMEOUT_S = 2.0
_MAX_NUM_BYTES = 64 * 1024 * 1024


class GatewayLink:
    """Close it at the end."""

    def __init__(self, admin_url: str) -> None:
        self._url = f"{admin_url.rstrip('/')}/stats"
        self._http = LocalHttpClient(_TIMEOUT_S)
        self._decoder = msgspec.json.Decoder(GatewayStats)

    async def stats(self) -> GatewayStats | None:
        """The current stats; None if the gateway does not respond with valid ones."""
        page = await self._http.get(self._url, max_num_bytes=_MAX_NUM_BYTES)
        try:
            return None if page is None else self._decoder.decode(page)
        except msgspec.MsgspecError:
            return None

    async def close(self) -> None:
        await self._http.close()
