"""GET requests to processes on this machine: directly, without proxies and cookies."""

import asyncio
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

_REJECT_ALL = DefaultCookiePolicy(allowed_domains=())
"""Cookies have no port, so one replica's would be sent to all others on 127.0.0.1."""


class LocalHttpClient:
    """Connections to any number of processes. Close it at the end."""

    def __init__(self, timeout_s: float) -> None:
        """``timeout_s``: of a whole request."""
        self._timeout_s = timeout_s
        self._http: httpx2.AsyncClient | None = None

    async def get(self, url: str, *, max_num_bytes: int) -> bytes | None:
        """The body of a 200 response; None if there is none in time, or a longer one."""
        if self._http is None:
            self._http = httpx2.AsyncClient(
                verify=unused_tls_context(),
                trust_env=False,
                timeout=None,
                cookies=CookieJar(_REJECT_ALL),
                follow_redirects=True,
                limits=httpx2.Limits(max_connections=None),
            )
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s), self._http.stream("GET", url) as response:
                if response.status_code != 200:
                    return None
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > max_num_bytes:
                        return None
        except (OSError, TimeoutError, httpx2.HTTPError, httpx2.InvalidURL):
            return None
        return bytes(body)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None


def unused_tls_context() -> ssl.SSLContext:
    """For plain HTTP: httpx2 otherwise reads the system's certificates."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
