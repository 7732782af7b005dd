"""Parameters and responses of the routes that return logs."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import Query
from fastapi.responses import StreamingResponse

from headrace.control.api.context import Context
from headrace.control.api.log_response import LogResponse
from headrace.control.api.log_stream import stream_log
from headrace.control.api.routes.bodies import MAX_INTEGER

Follow = Annotated[bool, Query(description="Follow the log.")]
Lines = Annotated[
    int | None, Query(ge=0, le=MAX_INTEGER, description="Number of last lines (default: all).")
]


def log_response(
    context: Context,
    find: Callable[[], Path | None],
    is_over: Callable[[], bool],
    *,
    follow: bool,
    lines: int | None,
) -> StreamingResponse:
    """The log; with ``follow``, until its writer has ended."""

    def is_followed_no_further() -> bool:
        return context.is_ending() or is_over()

    pieces = stream_log(find, num_lines=lines, is_over=is_followed_no_further if follow else None)
    return LogResponse(pieces, context.followers if follow else None)
