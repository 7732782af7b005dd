"""What requests carry: a manifest's text, or a few fields. Knows no resource."""

from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException, Query, Request
from pydantic import BaseModel, Field

MAX_MANIFEST_BYTES = 1024 * 1024


class ManifestBody(BaseModel):
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
    body = await request.body()
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


class NamedBody(BaseModel):
    name: str


class NewTokenBody(BaseModel):
    name: str
    role: str = "viewer"


class SecretBody(BaseModel):
    value: str = Field(repr=False)
