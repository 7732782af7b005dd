"""Recognizes a request head that equals the previous one on its connection, except for its length.

Clients send the same head with different bodies again and again over one connection. A head that
the parser has accepted is compared byte by byte instead of parsed again; only the digits of
``content-length`` may differ.
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
        """The head after the digits, with the empty line."""

    @classmethod
    def of(cls, message: bytes, num_body_bytes: int) -> RepeatedHead | None:
        """From a message that the parser has accepted as one request with a body of this size; None
        if its head cannot be compared."""
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
        """The body, if the message is an equal head and a body of exactly the length it gives."""
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
