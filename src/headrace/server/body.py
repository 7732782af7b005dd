"""Reading a request's body: within the limit, and as JSON whatever its Content-Type says.

curl sends JSON as a form, others write parameters into the header; the bytes decide.
"""

from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request

from headrace.server.errors import ClientGoneError, body_too_large

Body = TypeVar("Body", bound=BaseModel)


async def read_json(request: Request, model: type[Body], max_body_size: int) -> Body:
    """The body as this model; raises ApiError (413) or pydantic's ValidationError."""
    return model.model_validate_json(await read_body(request, max_body_size))


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
