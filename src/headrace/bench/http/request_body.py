"""A planned request as the bytes that are sent: the HTTP head and the JSON.

Knows the two endpoints and how a later turn takes up the ones before it. Knows no sockets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from headrace.bench.errors import OptionError
from headrace.bench.records import PlannedRequest, Target

ENDPOINTS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}

Prompt = str | tuple[int, ...] | tuple[dict[str, str], ...]
"""Text or token ids for completions, messages for chat."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens."""

    host: str
    port: int
    is_tls: bool
    path: str
    """Before ``/v1``; empty at the root."""


def parse_address(base_url: str) -> Address:
    """Read ``http://host:port``; a ``/v1`` at its end is let pass. Raises OptionError."""
    parts = urlsplit(base_url)
    try:
        port = parts.port
    except ValueError:
        raise OptionError(f"The port of {base_url!r} is no number from 1 to 65535.") from None
    if parts.username is not None or parts.password is not None:
        raise OptionError("The base URL must hold no name or password; give the key as API key.")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise OptionError(f"{base_url!r} is no base URL. Write it like http://127.0.0.1:8000.")
    is_tls = parts.scheme == "https"
    path = parts.path.rstrip("/").removesuffix("/v1")
    return Address(parts.hostname, port or (443 if is_tls else 80), is_tls, path)


class RequestEncoder:
    """Writes requests for one target, of one endpoint, streamed or not."""

    def __init__(
        self, target: Target, endpoint: str, *, is_streamed: bool, extra_body: Mapping[str, object]
    ) -> None:
        if endpoint not in ENDPOINTS:
            raise OptionError(f"The endpoint is {' or '.join(ENDPOINTS)}, not {endpoint!r}.")
        self.is_chat = endpoint == "chat"
        self._head = _head(parse_address(target.base_url), ENDPOINTS[endpoint], target)
        self._common: dict[str, Any] = {"model": target.model, "stream": is_streamed}
        if is_streamed:
            self._common["stream_options"] = {"include_usage": True}
        self._extra = dict(extra_body)
        self._encoder = msgspec.json.Encoder()

    def encode(self, planned: PlannedRequest, prompt: Prompt) -> bytes:
        """The request's bytes. ``extra_body`` has the last word on every field."""
        body = {
            **self._common,
            "messages" if self.is_chat else "prompt": prompt,
            "max_tokens": planned.max_tokens,
        }
        if planned.ignore_eos:
            body["ignore_eos"] = True
        body.update(self._extra)
        content = self._encoder.encode(body)
        return b"%s%d\r\n\r\n%s" % (self._head, len(content), content)

    def prompt_of(
        self, planned: PlannedRequest, before: Prompt | None = None, answer: str = ""
    ) -> Prompt:
        """What it asks, after what was said ``before`` and its ``answer``. Raises OptionError."""
        own = _messages_of(planned) if self.is_chat else _text_of(planned)
        if before is None:
            return own
        if self.is_chat:
            assistant = {"role": "assistant", "content": answer}
            return (*before, assistant, *own)
        if isinstance(before, str) and isinstance(own, str):
            return before + answer + own
        raise OptionError("Turns that follow one another are text or messages, not token ids.")


def _messages_of(planned: PlannedRequest) -> tuple[dict[str, str], ...]:
    if planned.messages is not None:
        return planned.messages
    if isinstance(planned.prompt, str):
        return ({"role": "user", "content": planned.prompt},)
    raise OptionError(
        "The chat endpoint takes no prompts of token ids. Ask for text, or for completions."
    )


def _text_of(planned: PlannedRequest) -> str | tuple[int, ...]:
    if planned.prompt is None:
        raise OptionError("These prompts are chat messages; send them to the chat endpoint.")
    return planned.prompt


def _head(address: Address, path: str, target: Target) -> bytes:
    """All up to the number of ``Content-Length``, which comes last."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    lines = [
        f"POST {address.path}{path} HTTP/1.1",
        f"Host: {host}:{address.port}",
        "Content-Type: application/json",
        "Accept-Encoding: identity",
        "User-Agent: headrace-bench",
    ]
    if target.api_key is not None:
        key = target.api_key.strip()
        if not key.isascii() or not key.isprintable():
            raise OptionError("The API key has characters that cannot stand in an HTTP header.")
        lines.append(f"Authorization: Bearer {key}")
    lines.append("Content-Length: ")
    try:
        return "\r\n".join(lines).encode("ascii")
    except UnicodeEncodeError:
        raise OptionError(
            f"{target.base_url!r} has letters beyond ASCII; write them as URLs do."
        ) from None
