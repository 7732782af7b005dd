"""Types of names and paths in manifests."""

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PORT_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9][A-Za-z0-9_-]*\Z")
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def _filled(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _env_name(value: str) -> str:
    if not _ENV_NAME.match(value):
        raise ValueError(f"`{value}` is not a variable name: use letters, digits and _")
    return value


def _port_name(value: str) -> str:
    if not _PORT_NAME.match(value):
        raise ValueError("must be letters, digits, - and _, with a letter among them")
    return value


def _header(value: str) -> str:
    if not _HEADER.match(value):
        raise ValueError("must be the name of an HTTP header, such as X-Session")
    return value


def _plain_name(value: str) -> str:
    if not _PLAIN_NAME.match(value):
        raise ValueError("must be letters, digits, dots, - and _, and begin with a letter or digit")
    return value


def _mount_path(value: str) -> str:
    path = PurePosixPath(value)
    if not path.is_absolute():
        raise ValueError("must be an absolute path, such as /code/")
    if ".." in path.parts:
        raise ValueError("must not contain ..")
    if len(path.parts) == 1:
        raise ValueError("must be a folder below /")
    return "/" + "/".join(path.parts[1:])


def _http_path(value: str) -> str:
    if not value.startswith("/") or any(character.isspace() for character in value):
        raise ValueError("must be a path that begins with /")
    return value


Filled = Annotated[str, AfterValidator(_filled)]
EnvName = Annotated[str, AfterValidator(_env_name)]
PortName = Annotated[str, AfterValidator(_port_name)]
HeaderName = Annotated[str, AfterValidator(_header)]
PlainName = Annotated[str, AfterValidator(_plain_name)]
HttpPath = Annotated[str, AfterValidator(_http_path)]

MountPath = Annotated[str, AfterValidator(_mount_path)]
"""A mount path, without a trailing slash."""
