"""Server-sent events: a streaming response, in which a failure is an event too."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import orjson
from starlette.types import Receive, Scope, Send

from headrace.core.errors import HeadraceError
from headrace.server.http.disconnect import stop_on_disconnect
from headrace.server.http.errors import ApiError, ClientGoneError, to_api_error

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
    failure is sent as the last event. When the client disconnects, the iterator and ``work`` are
    closed at once.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        work: AbstractAsyncContextManager[object],
        error_event: Callable[[ApiError], bytes] | None = None,
    ) -> None:
        """error_event: encodes a failure (default: as ``{"error": …}``, without [DONE])."""
        self._events = events
        self._work = work
        self._error_event = error_event or _error_event

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
            event = self._error_event(to_api_error(error))
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def data_event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data


def named_event(name: str, data: bytes) -> bytes:
    """An event with its type in the field ``event`` too."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def _error_event(error: ApiError) -> bytes:
    return data_event(orjson.dumps(error.body))
