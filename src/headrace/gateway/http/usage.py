"""Reads the model and the token usage of responses in the shapes of OpenAI's and Anthropic's APIs.

Of an event stream two events are read: the first one for the model, and of the last ones the one
with usage, which streams of completions and chats have if the client asks for it. Anthropic's own
streams have the prompt's tokens in the first one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

import msgspec

MAX_BODY_BYTES = 64 * 1024
"""Of a response that is read: 50 µs. Longer ones are counted without usage, but for events, which
repeat a whole response in OpenAI's Responses API; `SseGuard` bounds them."""

_DATA = b"data:"
_PREAMBLES = (b"event: response.created", b"event: message_start")
_others = re.compile(
    rb"^event:(?! ?(?:response\.(?:created|queued|in_progress)|message_start|ping)\r?$)",
    re.MULTILINE,
).search

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Details(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    """``usage`` in the shape of any of the APIs."""

    # completions, chats and embeddings
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    prompt_tokens_details: _Details | None = None
    # responses and messages
    input_tokens: Count = 0
    output_tokens: Count = 0
    input_tokens_details: _Details | None = None
    # messages, whose input_tokens are those that no cache has
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None

    def counts(self) -> Usage:
        details = self.prompt_tokens_details or self.input_tokens_details
        cached = 0 if details is None else details.cached_tokens or 0
        read = self.cache_read_input_tokens or 0
        prompt = self.input_tokens + read + (self.cache_creation_input_tokens or 0)
        return Usage(
            self.prompt_tokens or prompt,
            self.completion_tokens or self.output_tokens,
            cached + read,
        )


class Usage(msgspec.Struct, gc=False):
    """The tokens of one response."""

    prompt_tokens: int
    """Cached ones included."""
    completion_tokens: int
    cached_tokens: int


class _Body(msgspec.Struct, gc=False):
    model: str = ""
    usage: _Usage | None = None
    response: msgspec.Raw = msgspec.Raw(b"")
    """In an event of the Responses API: the response."""
    message: msgspec.Raw = msgspec.Raw(b"")
    """In the first event of the Messages API: the message."""


class ModelAndUsage(msgspec.Struct, gc=False):
    """What is read of a response, or of one event of a stream."""

    model: str = ""
    usage: Usage | None = None


_decode = msgspec.json.Decoder(_Body).decode
_NOTHING = ModelAndUsage()


def read_body(body: bytes | bytearray) -> ModelAndUsage:
    """``body``: complete, and not an event stream. Without model and usage if it has another shape
    or is longer than `MAX_BODY_BYTES`."""
    return _read(body) if len(body) <= MAX_BODY_BYTES else _NOTHING


def read_first_event(part: bytes) -> ModelAndUsage:
    """``part``: the first of an event stream."""
    return _read_event(part, part.find(_DATA))


def is_preamble(part: bytes) -> bool:
    """Whether the begin of an event stream has no token yet: only the events that say that a
    response has begun."""
    return part.startswith(_PREAMBLES) and _others(part) is None


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
    return _read(part[begin + len(_DATA) : end if end >= 0 else len(part)].strip())


def _read(body: bytes | bytearray) -> ModelAndUsage:
    if not body:
        return _NOTHING
    try:
        read = _decode(body)
        inner = bytes(read.response or read.message)
        if inner.startswith(b"{") and not read.model and read.usage is None:
            read = _decode(inner)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _NOTHING
    return ModelAndUsage(read.model, None if read.usage is None else read.usage.counts())
