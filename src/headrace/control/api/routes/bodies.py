"""Request bodies and common query parameters."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from headrace.control.resources import Role

MAX_INTEGER = 2**31 - 1
"""The maximum that every database can store."""
_MAX_NUM_FIELDS = 16
MAX_NAME_LENGTH = 4096
"""Of file and folder names, in characters."""

Limit = Annotated[
    int, Query(ge=1, le=1000, description="Maximum number of entries (newest first).")
]
"""Page size of listings that grow with time."""


@dataclass(frozen=True, slots=True)
class ManifestBody:
    """A manifest as sent."""

    text: str
    file: str
    """Its name, for messages."""
    folder: Path | None
    """The base of its relative paths, on this machine."""


async def read_manifest(
    request: Request,
    file: Annotated[
        str, Query(max_length=MAX_NAME_LENGTH, description="The file's name, for messages.")
    ] = "manifest",
    folder: Annotated[
        str | None,
        Query(max_length=MAX_NAME_LENGTH, description="Base of the manifest's relative paths."),
    ] = None,
) -> ManifestBody:
    """The request's body: YAML, of which JSON is a subset."""
    if "\0" in f"{file}{folder}":
        raise HTTPException(422, "File names must not contain NUL.")
    try:
        text = (await request.body()).decode()
    except UnicodeDecodeError:
        raise HTTPException(422, f"{file}: not valid UTF-8") from None
    return ManifestBody(text=text, file=file, folder=Path(folder) if folder else None)


Manifest = Annotated[ManifestBody, Depends(read_manifest)]

MANIFEST_OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {"application/yaml": {"schema": {"type": "string"}}},
    }
}


class Body(BaseModel):
    """Rejects unknown fields, such as misspelt ones."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _check_number(cls, value: Any) -> Any:
        """Each unknown field is an error of its own, and thousands would block the event loop."""
        if isinstance(value, dict) and len(value) > _MAX_NUM_FIELDS:
            raise ValueError(f"must have at most {_MAX_NUM_FIELDS} fields")
        return value


class NamedBody(Body):
    name: str


class NewTokenBody(Body):
    name: str
    role: Role = Role.VIEWER


class SecretBody(Body):
    value: str = Field(repr=False)
