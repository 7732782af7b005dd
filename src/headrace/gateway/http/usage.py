"""Reads the model and the token usage of responses in the shape of OpenAI's API.

Of an event stream two events are read: the first one for the model, and of the last ones the one
with usage, which streams have if the client asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

MAX_BODY_BYTES = 64 * 1024
"""Of a response that is read: 50 µs. Longer ones are counted without usage."""

_DATA = b"data:"

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _PromptTokensDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None


class Usage(msgspec.Struct, gc=False):
    """``usage`` of completions, chats and embeddings."""

    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    prompt_tokens_details: _PromptTokensDetails | None = None

    @property
    def cached_tokens(self) -> int:
        details = self.prompt_tokens_details
        return 0 if details is None else details.cached_tokens or 0


class ModelAndUsage(msgspec.Struct, gc=False):
    """What is read of a response, or of one event of a stream."""

    model: str = ""
    usage: Usage | None = None


_decode = msgspec.json.Decoder(ModelAndUsage).decode
_NOTHING = ModelAndUsage()


def read_body(body: bytes | bytearray) -> ModelAndUsage:
    """``body``: complete, and not an event stream. Without model and usage if it has another shape
    or is longer than `MAX_BODY_BYTES`."""
    if not body or len(body) > MAX_BODY_BYTES:
        return _NOTHING
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _NOTHING


def read_first_event(part: bytes) -> ModelAndUsage:
    """``part``: the first of an event stream."""
    return _read_event(part, part.find(_DATA))


def read_last_event(parts: Iterable[bytes]) -> ModelAndUsage:
    """The last event with usage; ``parts``: the last ones of an event stream, the last one
    first."""
    for part in parts:
        found = part.rfind(b'"usage":')
        if found >= 0:
            event = _read_event(part, part.rfind(b"\n", 0, found) + 1)
            if event.usage is not None:
                return event
    return _NOTHING


def _read_event(part: bytes, begin: int) -> ModelAndUsage:
    """The event whose line begins there."""
    if begin < 0 or not part.startswith(_DATA, begin):
        return _NOTHING
    end = part.find(b"\n", begin)
    return read_body(part[begin + len(_DATA) : end if end >= 0 else len(part)].strip())
