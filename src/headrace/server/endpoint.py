"""One row of the table of endpoints in routes.py."""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

Handler = Callable[[Request], Awaitable[Any]]
"""Returns an ASGI response; raises ApiError, HeadraceError or ClientGoneError."""

JSON, TEXT, HTML = "application/json", "text/plain", "text/html"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An endpoint: its route, its schemas and who may use it."""

    path: str
    """As in Starlette's routes: ``/v1/models/{model_id:path}``."""
    handler: Handler
    summary: str
    methods: tuple[str, ...] = ("GET",)
    requests: tuple[type[BaseModel], ...] = ()
    """Schemas of the body, of which it has one; empty: no body."""
    responses: tuple[type[BaseModel], ...] = ()
    """Schemas of the response with status 200; empty: see media_type."""
    chunks: tuple[type[BaseModel], ...] = ()
    """Schemas of a stream's events; empty: it does not stream."""
    errors: tuple[int, ...] = ()
    """Statuses beside 500 and those of access control."""
    media_type: str = JSON
    """Of the response with status 200."""
    is_open: bool = False
    """Served without a key where the server has keys: it discloses no request and changes
    nothing."""
    invocation_field: str | None = None
    """The field of a body by which /invocations finds this endpoint."""
    prompt_field: str = "prompt"
    """The field that an error about the length of the prompt names."""
    enabled_by: str | None = None
    """The boolean option (a field of ServerConfig) without which the server does not have it."""
    in_openapi: bool = True
    difference: str = ""
    """How it differs from the same endpoint of OpenAI or vLLM, in Markdown."""

    @property
    def openapi_path(self) -> str:
        """The path without the convertors of its parameters."""
        return re.sub(r":\w+}", "}", self.path)

    @property
    def parameters(self) -> list[str]:
        """The names of the path's parameters."""
        return re.findall(r"{(\w+)", self.path)

    @property
    def route_paths(self) -> tuple[str, ...]:
        """With and without a trailing slash. (A redirect would name the wrong host behind a proxy,
        and some clients do not resend the body.)"""
        if self.path.endswith(":path}"):
            return (self.path,)
        return tuple(dict.fromkeys((self.path, self.path.rstrip("/") + "/")))


def open_paths(endpoints: Iterable[Endpoint]) -> frozenset[str]:
    """The paths that need no key."""
    return frozenset(path for each in endpoints if each.is_open for path in each.route_paths)
