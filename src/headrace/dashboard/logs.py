"""Responses with logs."""

from typing import TypeVar

from starlette.responses import Response

AnyResponse = TypeVar("AnyResponse", bound=Response)


def as_download(response: AnyResponse, file_name: str) -> AnyResponse:
    """The response, which the browser saves as a file. ``file_name``: ASCII without quotes."""
    response.headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
    return response
