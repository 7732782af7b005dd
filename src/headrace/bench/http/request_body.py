"""Encodes a planned request: the HTTP head and the JSON, with the turns before it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.bench.errors import OptionError
from headrace.bench.http.address import Address, parse_address
from headrace.bench.http.credentials import authorization
from headrace.bench.records import BenchTarget, PlannedRequest

ENDPOINTS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}

Prompt = str | tuple[int, ...] | tuple[dict[str, str], ...]
"""Text or token ids for completions, messages for chat."""


class RequestEncoder:
    """Encodes requests for one target and one endpoint, streamed or not."""

    def __init__(
        self,
        target: BenchTarget,
        endpoint: str,
        *,
        is_streamed: bool,
        extra_body: Mapping[str, object],
    ) -> None:
        if endpoint not in ENDPOINTS:
            raise OptionError(f"The endpoint must be {' or '.join(ENDPOINTS)}, not {endpoint!r}.")
        self.is_chat = endpoint == "chat"
        self._head = _head(parse_address(target.base_url), ENDPOINTS[endpoint], target)
        self._common: dict[str, Any] = {"model": target.model, "stream": is_streamed}
        if is_streamed:
            self._common["stream_options"] = {"include_usage": True}
        self._extra = dict(extra_body)
        self._encoder = msgspec.json.Encoder()

    def encode(self, planned: PlannedRequest, prompt: Prompt) -> bytes:
        """The request's bytes. ``extra_body`` overrides all fields."""
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
        """Its prompt, after the prompt ``before`` and its ``answer``. Raises OptionError."""
        own = _messages_of(planned) if self.is_chat else _text_of(planned)
        if before is None:
            return own
        if self.is_chat:
            assistant = {"role": "assistant", "content": answer}
            return (*before, assistant, *own)
        if isinstance(before, str) and isinstance(own, str):
            return before + answer + own
        raise OptionError("Conversations need text or messages, not token ids.")


def _messages_of(planned: PlannedRequest) -> tuple[dict[str, str], ...]:
    if planned.messages is not None:
        return planned.messages
    if isinstance(planned.prompt, str):
        return ({"role": "user", "content": planned.prompt},)
    raise OptionError(
        "The chat endpoint takes no token ids. Use text prompts, or the completions endpoint."
    )


def _text_of(planned: PlannedRequest) -> str | tuple[int, ...]:
    if planned.prompt is None:
        raise OptionError("These prompts are chat messages. Use the chat endpoint.")
    return planned.prompt


def _head(address: Address, path: str, target: BenchTarget) -> bytes:
    """Up to the value of ``Content-Length``, which is the last header."""
    fields = {
        "Host": address.host_header,
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "headrace-bench",
        **authorization(target.api_key),
        "Content-Length": "",
    }
    lines = [f"POST {address.path}{path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
    return "\r\n".join(lines).encode("ascii")
