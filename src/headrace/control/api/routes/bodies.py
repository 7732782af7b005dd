"""What requests carry: a manifest's text, a few fields, or which page. Knows no resource."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from headrace.control.resources import Role

MAX_MANIFEST_BYTES = 1024 * 1024
MAX_INTEGER = 2**31 - 1
"""That every database can hold."""

Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many, the newest.")]
"""Of listings that grow with time: they come in pages."""


@dataclass(frozen=True, slots=True)
class ManifestBody:
    """A manifest as it came."""

    text: str
    file: str
    """Its name, for messages."""
    folder: Path | None
    """Where its relative paths begin, on this machine."""


async def read_manifest(
    request: Request,
    file: Annotated[str, Query(description="The file's name, for messages.")] = "manifest",
    folder: Annotated[
        str | None, Query(description="Where the manifest's relative paths begin.")
    ] = None,
) -> ManifestBody:
    """The request's body, which is YAML (or JSON, which is YAML too)."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_MANIFEST_BYTES:
            raise HTTPException(413, f"{file}: a manifest has at most {MAX_MANIFEST_BYTES} bytes.")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise HTTPException(422, f"{file}: not a text in UTF-8") from None
    return ManifestBody(text=text, file=file, folder=Path(folder) if folder else None)


Manifest = Annotated[ManifestBody, Depends(read_manifest)]

MANIFEST_OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {"application/yaml": {"schema": {"type": "string"}}},
    }
}


class Body(BaseModel):
    """Refuses what it does not know, so that a misspelt field is not passed over."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NamedBody(Body):
    name: str


class NewTokenBody(Body):
    name: str
    role: Role = Role.VIEWER


class SecretBody(Body):
    value: str = Field(repr=False)
