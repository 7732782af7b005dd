"""A replica's answer as its client gets it: the head framed anew, the body's bytes as they came.

A stream of events is passed on in whole events only, so that it can be cut cleanly. Knows neither
connections nor what an answer is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.gateway.http import local_reply
from headrace.gateway.http.sse_guard import SseGuard
from headrace.gateway.routing.decisions import Refused

if TYPE_CHECKING:
    from headrace.gateway.http.http_request import Request
    from headrace.gateway.upstream.connection import AnswerHead


class AnswerWriter:
    """For one answer. What it writes is added to a list of pieces, which its caller joins."""

    __slots__ = ("_head", "_is_chunked", "guard", "is_last")

    def __init__(
        self,
        head: AnswerHead,
        request: Request,
        is_draining: bool,
        pieces: list[bytes],
        num_body_bytes: int | None = None,
    ) -> None:
        """Writes the head; ``num_body_bytes`` of an answer that is known as a whole."""
        self._head = head
        self.guard: SseGuard | None = None
        """Of a stream of events."""
        self._is_chunked = False
        self.is_last = request.is_last or is_draining
        """The connection ends with this answer."""
        pieces.append(b"HTTP/1.1 %d %b" % (head.status, head.reason))
        pieces += head.lines
        pieces.append(request.answer_headers)
        if b"content-length" not in head.noted and head.has_body:
            self._delimit(request, pieces, num_body_bytes)
        if self.is_last:
            pieces.append(b"\r\nconnection: close")
        elif not request.can_chunk:
            pieces.append(b"\r\nconnection: keep-alive")
        pieces.append(b"\r\n\r\n")

    @property
    def status(self) -> int:
        return self._head.status

    def add(self, data: bytes, pieces: list[bytes]) -> None:
        """Write more of the body."""
        if self.guard is not None:
            data = self.guard.feed(data)
        if data:
            self._frame(data, pieces)

    def finish(self, pieces: list[bytes]) -> None:
        """The answer is whole."""
        if self.guard is not None and (rest := self.guard.rest()):
            self._frame(rest, pieces)
        if self._is_chunked:
            pieces.append(b"0\r\n\r\n")

    def cut(self, refused: Refused, pieces: list[bytes]) -> None:
        """The answer will never be whole: tell it if a stream can, and in no case end it."""
        if self.guard is not None and not self.guard.is_off:
            self._frame(local_reply.error_event(refused), pieces)

    @property
    def looks_whole_when_closed(self) -> bool:
        """Only the connection's end tells its client, who does not speak HTTP/1.1, where the body
        ends, and there is no event to say that it is none."""
        return (
            self.is_last
            and not self._is_chunked
            and self._head.has_body
            and b"content-length" not in self._head.noted
            and (self.guard is None or self.guard.is_off)
        )

    @property
    def ends_with_connection(self) -> bool:
        """Whether it is whole when the replica's connection has ended in order."""
        if not self._head.ends_with_connection:
            return False
        # That end does not tell a whole stream from a cut one; [DONE] does.
        return self.guard is None or self.guard.is_done

    def _delimit(self, request: Request, pieces: list[bytes], num_body_bytes: int | None) -> None:
        if request.can_chunk:
            pieces.append(b"\r\ntransfer-encoding: chunked")
            self._is_chunked = not request.is_head
        elif num_body_bytes is not None and not request.is_head:
            pieces.append(b"\r\ncontent-length: %d" % num_body_bytes)
        else:
            self.is_last = True
        if self._head.is_event_stream:
            self.guard = SseGuard()

    def _frame(self, data: bytes, pieces: list[bytes]) -> None:
        if self._is_chunked:
            pieces += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            pieces.append(data)
