"""JSON bodies: reading a request's within limits of bytes and values, and writing a response's."""

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
"""Maximum number of keys and values in a body. A parsed value takes up to 200 bytes of memory and
2 µs of parsing, even if it is one byte of JSON, so a limit of bytes bounds neither. A prompt of
token ids has one value per token."""

LARGE_BODY = 64 * 1024
"""Bytes. Larger bodies are parsed in a thread, because parsing would block the event loop."""

JsonObject = dict[str, Any]

Body = TypeVar("Body", bound=BodyModel)

_BOM = b"\xef\xbb\xbf"
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_STRUCTURE = b',:[{"'
_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in _STRUCTURE)


async def read_json(request: Request, model: type[Body], max_body_size: int) -> Body:
    """The validated body; raises ApiError (400, 413, 415) or ClientGoneError.

    Large bodies are parsed in a thread, one at a time, to bound memory.
    """
    _check_headers(request)
    body = await read_body(request, max_body_size)
    if len(body) <= LARGE_BODY:
        return parse(body, model)
    slot: asyncio.Semaphore = request.app.state.large_body_slot
    async with slot:
        return await asyncio.to_thread(parse, body, model)


async def read_body(request: Request, max_body_size: int) -> bytes:
    """The whole body, chunked or with Content-Length; raises ApiError (413) at the limit."""
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
    """Parse and validate; raises ApiError (400, 413) for the first invalid value."""
    body = body.removeprefix(_BOM)
    if body.startswith(_UTF_16_BOMS) or b"\0" in body[:4]:
        raise invalid_json("The body must be encoded in UTF-8, not UTF-16 or UTF-32.")
    if _has_more_values(body, MAX_JSON_VALUES):
        raise too_many_values(MAX_JSON_VALUES)
    try:
        values = from_json(body, allow_inf_nan=False)
    except ValueError as error:  # nesting beyond the parser's limit too
        raise invalid_json(f"The body is not valid JSON: {error}.") from None
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_body(error, values) from None


def json_response(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


def _check_headers(request: Request) -> None:
    """Refuse the content types that a browser sends across origins without a CORS preflight:
    text/plain, forms, and a Blob without a type."""
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
    """Parameters are ignored: some clients send an API key there."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def _has_more_values(body: bytes, limit: int) -> bool:
    """Whether the JSON text has more than ``limit`` keys and values, without parsing it."""
    if len(body) <= limit or _num_structural(body) < limit:  # counts those within strings too
        return False
    # With escaped quotes and non-structural bytes removed, every second piece is outside strings.
    escaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = escaped.translate(None, _NOT_STRUCTURE)
    if structure.count(b'"') > 2 * limit:
        return True
    return _num_structural(b"".join(structure.split(b'"')[::2])) >= limit


def _num_structural(text: bytes) -> int:
    """At most the number of keys and values, less one."""
    return sum(text.count(mark) for mark in (b",", b":", b"[", b"{"))
