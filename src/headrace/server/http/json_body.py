"""Reading a request's body: JSON in UTF-8, within limits of bytes and of values.

Knows no endpoint. What the body must hold is said by a BodyModel.
"""

import asyncio
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from headrace.server.http.body_model import BodyModel
from headrace.server.http.errors import (
    ClientGoneError,
    body_too_large,
    encoded_body,
    invalid_json,
    too_many_values,
    wrong_content_type,
)
from headrace.server.http.invalid_body import invalid_body

MAX_JSON_VALUES = 500_000
"""Keys and values that a body may have. A parsed value takes up to 200 bytes of memory and 2 µs,
however few bytes of JSON it is, so that a bound on bytes alone is no bound on either. A prompt of
token ids has one value a token."""

LARGE_BODY = 64 * 1024
"""Bytes. Parsing more takes longer than the event loop should wait."""

JsonObject = dict[str, Any]

Body = TypeVar("Body", bound=BodyModel)

_BOM = b"\xef\xbb\xbf"
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_STRUCTURE = b',:[{"'
_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in _STRUCTURE)


async def read_json(request: Request, model: type[Body], max_body_size: int) -> Body:
    """The body as this model; raises ApiError (400, 413, 415) or ClientGoneError.

    Large bodies are parsed in a thread, one at a time, so that memory is taken for one of them.
    """
    _check_headers(request)
    body = await read_body(request, max_body_size)
    if len(body) <= LARGE_BODY:
        return parse(body, model)
    slot: asyncio.Semaphore = request.app.state.large_body_slot
    async with slot:
        return await asyncio.to_thread(parse, body, model)


async def read_body(request: Request, max_body_size: int) -> bytes:
    """The whole body, in chunks or with a length; what is too long is not read to its end."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_body_size:
        raise body_too_large(max_body_size)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_body_size:
                raise body_too_large(max_body_size)
            chunks.append(chunk)
    except ClientDisconnect:
        raise ClientGoneError from None
    return b"".join(chunks)


def parse(body: bytes, model: type[Body]) -> Body:
    """The JSON text as this model; raises ApiError (400, 413) that names the first wrong value."""
    body = body.removeprefix(_BOM)
    if body.startswith(_UTF_16_BOMS) or b"\0" in body[:4]:
        raise invalid_json("The body must be UTF-8, and this is UTF-16 or UTF-32.")
    if _has_more_values(body, MAX_JSON_VALUES):
        raise too_many_values(MAX_JSON_VALUES)
    try:
        values = from_json(body, allow_inf_nan=False)
    except ValueError as error:  # nesting too deep is one too
        raise invalid_json(f"The body is not valid JSON: {error}.") from None
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_body(error, values) from None


def json_response(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


def _check_headers(request: Request) -> None:
    """Browsers send JSON as text/plain or as a form, or a Blob without any type, to a foreign
    server without asking it first (a CORS preflight). So none of these is read."""
    content_types = request.headers.getlist("content-type")
    for content_type in content_types:
        if not _is_json(content_type):
            raise wrong_content_type(content_type)
    if not content_types and "origin" in request.headers:
        raise wrong_content_type("")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise encoded_body(encoding)


def _is_json(content_type: str) -> bool:
    """Parameters say nothing: some clients write an API key there."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def _has_more_values(body: bytes, limit: int) -> bool:
    """Whether the JSON text has more than so many keys and values; builds none of them."""
    if len(body) <= limit or _num_structural(body) < limit:  # those within texts are counted too
        return False
    # Without escaped quotes and all that is not structure, every second piece is outside of texts.
    escaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = escaped.translate(None, _NOT_STRUCTURE)
    if structure.count(b'"') > 2 * limit:
        return True
    return _num_structural(b"".join(structure.split(b'"')[::2])) >= limit


def _num_structural(text: bytes) -> int:
    """One less than the number of values and keys, at most."""
    return sum(text.count(mark) for mark in (b",", b":", b"[", b"{"))
