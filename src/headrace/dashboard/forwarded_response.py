"""A response that comes from another server as it is streamed, and ends with its client."""

import asyncio
import json
import logging
import ssl
from collections.abc import Mapping

import httpx2
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

logger = logging.getLogger("headrace.control")

_CONNECT_TIMEOUT_S = 5.0
_BAD_GATEWAY = 502
_CONTENT_TYPES = ("application/json", "text/event-stream")
"""Others, which a browser might run, become plain text."""


class ForwardedResponse(Response):
    """Sends a POST request to a server on this machine, and forwards its response.

    If the client disconnects, before the response starts or while it is streamed, the connection to
    the server is closed, so that it stops its work.
    """

    def __init__(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        super().__init__()
        self._url = url
        self._body = body
        self._sent_headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        forwarding = asyncio.create_task(self._forward(scope, receive, send))
        leaving = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({forwarding, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if forwarding.done():
                forwarding.result()
        finally:
            for task in (forwarding, leaving):
                task.cancel()
            await asyncio.gather(forwarding, leaving, return_exceptions=True)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_started = False
        timeout = httpx2.Timeout(None, connect=_CONNECT_TIMEOUT_S)
        http = httpx2.AsyncClient(verify=_unverified(), trust_env=False, timeout=timeout)
        try:
            async with (
                http,
                http.stream(
                    "POST", self._url, content=self._body, headers=self._sent_headers
                ) as response,
            ):
                await send(
                    {
                        "type": "http.response.start",
                        "status": response.status_code,
                        "headers": [(b"content-type", _content_type(response).encode())],
                    }
                )
                has_started = True
                async for piece in response.aiter_bytes():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except (OSError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            logger.warning("The gateway failed while it was used by the dashboard: %s", error)
            if has_started:
                event = f"\n\ndata: {json.dumps(_FAILED)}\n\n".encode()
                await send({"type": "http.response.body", "body": event})
            else:
                await JSONResponse(_UNREACHABLE, _BAD_GATEWAY)(scope, receive, send)


_UNREACHABLE = {
    "error": {
        "message": "The gateway does not respond. Check: headrace status",
        "type": "gateway_unavailable",
        "code": _BAD_GATEWAY,
    }
}
_FAILED = {
    "error": {
        "message": "The connection to the gateway was lost.",
        "type": "gateway_unavailable",
        "code": _BAD_GATEWAY,
    }
}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _content_type(response: httpx2.Response) -> str:
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return f"{content_type if content_type in _CONTENT_TYPES else 'text/plain'}; charset=utf-8"


def _unverified() -> ssl.SSLContext:
    """The server is on this machine, and its certificate has another name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
