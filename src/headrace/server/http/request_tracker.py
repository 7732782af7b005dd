"""Tracks each HTTP request: its id, its status and its duration.

X-Request-Id is the client's value or a generated one, echoed in every response unless
--no-enable-request-id-headers is given. The engine's
request ids are separate: those must be unique, and clients may repeat theirs.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.core.generation.outputs import RequestTimes
from headrace.core.generation.sampling_params import SamplingParams

NO_HANDLER = "none"
"""The handler of requests that match no route, as in prometheus-fastapi-instrumentator."""
CLIENT_GONE = 499
"""Recorded if the client disconnected before the response began; it is never sent."""

_ACCEPTED = re.compile(rb"[!-~]{1,256}")


@dataclass(slots=True)
class GenerationRecord:
    """What one request generated, text or vectors. Neither the prompts nor the outputs."""

    request_id: str
    """The engine's, which is the ``id`` in the response."""
    model: str
    is_stream: bool
    params: SamplingParams | None
    """None if it asked for vectors."""
    num_choices: int
    arrived_at: float
    """Monotonic, in seconds, as are all times here."""
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_output_tokens: int = 0
    finish_reasons: tuple[str, ...] = ()
    """Of the choices that ended, in the order of their ends."""
    times: RequestTimes | None = None
    """Of the first choice that got a token."""
    first_token_at: float | None = None
    last_token_at: float | None = None


@dataclass(slots=True)
class RequestRecord:
    """One HTTP request."""

    request_id: str
    """X-Request-Id."""
    method: str
    path: str
    handler: str
    """The path of its route, or NO_HANDLER."""
    http_version: str
    client: str
    """Address and port; empty if unknown."""
    headers: Headers
    arrived_at: float
    status: int = CLIENT_GONE
    duration_s: float = 0.0
    """Until the response was complete, or the client had disconnected."""
    generation: GenerationRecord | None = None
    """None for requests that were refused, and for those that generate nothing."""
    at_end: list[Callable[[], None]] = field(default_factory=list)
    """Called when the request has ended, before the observers."""


RequestObserver = Callable[[RequestRecord], None]
"""Called at the end of each request, on the event loop's thread."""


class RequestTracker:
    """Sets X-Request-Id and ``scope["state"]["record"]``, a RequestRecord that endpoints add to,
    and calls the observers when the request has ended."""

    def __init__(
        self,
        app: ASGIApp,
        routes: Iterable[BaseRoute],
        observers: Sequence[RequestObserver],
        *,
        sends_id: bool = True,
    ) -> None:
        """sends_id: responses have X-Request-Id."""
        self._app = app
        self._sends_id = sends_id
        self._routes = [route for route in routes if isinstance(route, Route)]
        self._handlers = {route.path: _handler_name(route) for route in self._routes}
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = _client_request_id(scope) or uuid4().hex.encode()
        record = RequestRecord(
            request_id=request_id.decode(),
            method=scope["method"],
            path=scope["path"],
            handler=self._handler_of(scope["path"]),
            http_version=scope["http_version"],
            client=_client_of(scope),
            headers=headers,
            arrived_at=time.monotonic(),
        )
        scope.setdefault("state", {})["record"] = record

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                if self._sends_id:
                    message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            record.duration_s = time.monotonic() - record.arrived_at
            for call in record.at_end:
                call()
            for observe in self._observers:
                observe(record)

    def _handler_of(self, path: str) -> str:
        handler = self._handlers.get(path)
        if handler is not None:
            return handler
        matching = (route for route in self._routes if route.path_regex.fullmatch(path))
        return next(map(_handler_name, matching), NO_HANDLER)


def record_of(scope: Scope) -> RequestRecord:
    """The record of this request."""
    record: RequestRecord = scope["state"]["record"]
    return record


def _handler_name(route: Route) -> str:
    """Without a trailing slash, and without the convertors of parameters."""
    return re.sub(r":\w+}", "}", route.path).rstrip("/") or "/"


def _client_of(scope: Scope) -> str:
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else ""


def _client_request_id(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ACCEPTED.fullmatch(value):
            return bytes(value)
    return None
