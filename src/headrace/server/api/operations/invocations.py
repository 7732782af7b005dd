"""POST /invocations, SageMaker's endpoint: the endpoint that the body is for."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import Message, Receive

from headrace.server.endpoint import Endpoint
from headrace.server.http.errors import ApiError, ErrorCode
from headrace.server.http.json_body import LARGE_BODY, read_body
from headrace.server.model_pool.request_model import config_of

_names = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_BOM = b"\xef\xbb\xbf"


async def invocations(request: Request) -> Any:
    """The response of the endpoint whose field the body has.

    Raises ApiError (400) if it has none, and whatever that endpoint raises.
    """
    body = await read_body(request, config_of(request).max_body_size)
    endpoints: Sequence[Endpoint] = request.app.state.endpoints
    targets = [each for each in endpoints if each.invocation_field is not None]
    if len(body) <= LARGE_BODY:
        target = _target(body, targets)
    else:
        slot: asyncio.Semaphore = request.app.state.large_body_slot
        async with slot:
            target = await asyncio.to_thread(_target, body, targets)
    # Errors are those of the target.
    request.scope.update(path=target.path, endpoint=target.handler)
    return await target.handler(Request(request.scope, _replay(body, request.receive)))


def _target(body: bytes, targets: Sequence[Endpoint]) -> Endpoint:
    try:
        names = _names(body.removeprefix(_BOM))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return targets[0]  # which refuses the body, with the reason
    for each in targets:
        if each.invocation_field in names:
            return each
    fields = ", ".join(f"{each.invocation_field} ({each.path})" for each in targets)
    raise ApiError(
        ErrorCode.MISSING_REQUIRED_PARAMETER,
        f"The body must have the field of one of these endpoints: {fields}.",
        param=targets[0].invocation_field,
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then what the connection has to report."""
    is_sent = False

    async def receive_again() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
