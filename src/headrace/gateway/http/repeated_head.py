"""Recognizes a request's head that is the one before on its connection but for its length.

A client that keeps its connection sends the same head again and again, while bodies differ. What
the parser has accepted once needs no parsing again: the bytes are compared instead, and only the
digits of ``content-length`` may differ. Knows no HTTP but that.
"""

from __future__ import annotations

_NAME = b"\r\ncontent-length:"
_END = b"\r\n\r\n"
_MAX_NUM_DIGITS = 10


class RepeatedHead:
    __slots__ = ("_after", "_before")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        """The head up to the digits."""
        self._after = after
        """The head behind them, its end included."""

    @classmethod
    def of(cls, message: bytes, num_body_bytes: int) -> RepeatedHead | None:
        """From a whole message that the parser has accepted as one request with such a body."""
        end = message.find(_END) + len(_END)
        if len(message) - end != num_body_bytes:  # chunks, trailers, empty lines before it
            return None
        head = message[:end]
        lower = head.lower()
        start = lower.find(_NAME)
        if start < 0 or lower.find(_NAME, start + 1) >= 0:
            return None
        start += len(_NAME)
        while head[start : start + 1] == b" ":
            start += 1
        digits = b"%d" % num_body_bytes
        after = head[start + len(digits) :]
        if not head.startswith(digits, start) or not after.startswith(b"\r\n"):
            return None
        return cls(head[:start], after)

    def body_in(self, message: bytes) -> bytes | None:
        """The body, if this is such a head and exactly as much behind it as it says."""
        before = self._before
        if not message.startswith(before):
            return None
        start = len(before)
        end = message.find(b"\r", start, start + _MAX_NUM_DIGITS + 1)
        digits = message[start:end]
        if end < 0 or not digits.isdigit() or not message.startswith(self._after, end):
            return None
        body_start = end + len(self._after)
        if len(message) - body_start != int(digits):
            return None
        return message[body_start:]
