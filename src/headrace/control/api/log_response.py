"""The response that streams a log, and the limit on how many are followed at once."""

from collections.abc import AsyncIterator

from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

MAX_NUM_FOLLOWERS = 64
"""Each one checks its log five times a second, and queries the store once a second."""

_RETRY_AFTER_S = 10


class Followers:
    """The number of logs that are being followed. Used by one event loop."""

    def __init__(self, max_num: int = MAX_NUM_FOLLOWERS) -> None:
        self.max_num = max_num
        self.num = 0


class LogResponse(StreamingResponse):
    """``followers``: set if the log is followed; at their maximum the response is a 503."""

    def __init__(self, pieces: AsyncIterator[bytes], followers: Followers | None) -> None:
        super().__init__(pieces, media_type="text/plain; charset=utf-8")
        self._followers = followers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        followers = self._followers
        if followers is None:
            await super().__call__(scope, receive, send)
            return
        if followers.num >= followers.max_num:
            await _refusal(followers.max_num)(scope, receive, send)
            return
        followers.num += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            followers.num -= 1


def _refusal(max_num: int) -> JSONResponse:
    message = (
        f"Too many logs are being followed (maximum {max_num}). Stop following another one, or "
        "read this one without following it."
    )
    headers = {"Retry-After": str(_RETRY_AFTER_S)}
    content = {"error": {"message": message, "type": "too_many_followers", "code": 503}}
    return JSONResponse(content, 503, headers)
