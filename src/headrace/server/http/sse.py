"""Server-sent events: a response that writes each event as it comes.

Knows nothing of what the events hold, except that an error is an event too.
"""

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
    (b"x-accel-buffering", b"no"),  # nginx would hold the events back
]

logger = logging.getLogger("headrace.server")


class EventStream:
    """An ASGI response over an iterator of whole events.

    The status waits for the first event, so that what fails before it is answered with its own
    status. A later failure becomes an event ``{"error": …}``, and no [DONE] follows it. When the
    client goes away, the iterator and ``work`` are closed at once.
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
                logger.exception("a stream failed")
            await send({"type": "http.response.body", "body": _event(error), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def data_event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data


def _event(error: Exception) -> bytes:
    return data_event(orjson.dumps(to_api_error(error).body))
