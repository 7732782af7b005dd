"""Server-sent events: a streaming response, in which a failure is an event too."""

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import orjson
from starlette.types import Receive, Scope, Send

from headrace.core.errors import HeadraceError
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.errors import ClientGoneError, to_api_error

DONE = b"data: [DONE]\n\n"

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # turns off nginx's response buffering
]

logger = logging.getLogger("headrace.server")


class EventStream:
    """An ASGI response that sends an iterator of encoded events.

    Headers are sent with the first event, so a failure before it has its own status. A later
    failure is sent as an event ``{"error": …}`` without [DONE]. When the client disconnects, the
    iterator and ``work`` are closed at once.
    """

    def __init__(
        self, events: AsyncIterator[bytes], work: AbstractAsyncContextManager[object]
    ) -> None:
        self._events = events
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        try:
            async with stop_on_disconnect(receive), self._work:
                async for event in self._events:
                    if not started:
                        started = True
                        await send(
                            {"type": "http.response.start", "status": 200, "headers": _HEADERS}
                        )
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        except ClientGoneError:
            return
        except Exception as error:
            if not started:
                raise
            if not isinstance(error, HeadraceError):
                logger.exception("Stream failed")
            await send({"type": "http.response.body", "body": _event(error), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def data_event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data


def _event(error: Exception) -> bytes:
    return data_event(orjson.dumps(to_api_error(error).body))
