"""The bytes of the mock's responses: JSON documents and server-sent events."""

import time
from typing import Literal

import msgspec

DEFAULT_MAX_TOKENS = 16

Kind = Literal["chat", "text"]

_TEXT = (
    "The water runs down the channel and turns the wheel and the wheel turns the stone and the "
    "stone grinds the grain and the miller sings until the day is done and then sleeps"
)
_WORDS = _TEXT.split()


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class GenerateBody(msgspec.Struct):
    """The fields that the mock reads of a request's body; others are ignored."""

    messages: msgspec.Raw = msgspec.Raw(b"")
    prompt: msgspec.Raw = msgspec.Raw(b"")
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def num_tokens(self) -> int:
        for limit in (self.max_completion_tokens, self.max_tokens):
            if limit is not None:
                return max(limit, 0)
        return DEFAULT_MAX_TOKENS

    @property
    def num_prompt_tokens(self) -> int:
        """Words of the prompt as JSON: deterministic, unlike a tokenizer's count."""
        raw = bytes(self.messages) or bytes(self.prompt)
        return max(len(raw.split()), 1)

    @property
    def includes_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class Responses:
    """Builds responses for one model."""

    def __init__(self, model: str) -> None:
        self._model = msgspec.json.encode(model).decode()
        self._created = int(time.time())
        self._num_responses = 0

    def models(self) -> bytes:
        return (
            f'{{"object":"list","data":[{{"id":{self._model},"object":"model",'
            f'"created":{self._created},"owned_by":"headrace"}}]}}'
        ).encode()

    def complete(self, kind: Kind, body: GenerateBody) -> bytes:
        text = "".join(_token(position) for position in range(body.num_tokens))
        if kind == "chat":
            choice = f'"message":{{"role":"assistant","content":"{text}"}}'
            name = "chat.completion"
        else:
            choice = f'"text":"{text}"'
            name = "text_completion"
        return (
            f"{self._head(kind, name)}"
            f'"choices":[{{"index":0,{choice},"logprobs":null,"finish_reason":"length"}}],'
            f"{_usage(body)}}}"
        ).encode()

    def stream(self, kind: Kind, body: GenerateBody, chunk_tokens: int) -> list[bytes]:
        """The events with tokens in order, then the end of the stream as one more item."""
        head = self._head(kind, "chat.completion.chunk" if kind == "chat" else "text_completion")
        null_usage = ',"usage":null' if body.includes_usage else ""

        def event(text: str | None, finish_reason: str) -> str:
            if kind == "text":
                content = f'"text":"{text or ""}"'
            elif text is None:
                content = '"delta":{}'
            else:
                content = f'"delta":{{"content":"{text}"}}'
            return (
                f'data: {head}"choices":[{{"index":0,{content},"logprobs":null,'
                f'"finish_reason":{finish_reason}}}]{null_usage}}}\n\n'
            )

        events = []
        for start in range(0, body.num_tokens, chunk_tokens):
            end = min(start + chunk_tokens, body.num_tokens)
            text = "".join(_token(position) for position in range(start, end))
            events.append(event(text, "null").encode())
        last = event(None, '"length"')
        if body.includes_usage:
            last += f'data: {head}"choices":[],{_usage(body)}}}\n\n'
        events.append(f"{last}data: [DONE]\n\n".encode())
        return events

    def _head(self, kind: Kind, name: str) -> str:
        self._num_responses += 1
        prefix = "chatcmpl" if kind == "chat" else "cmpl"
        return (
            f'{{"id":"{prefix}-{self._num_responses}","object":"{name}",'
            f'"created":{self._created},"model":{self._model},'
        )


def error(message: str, kind: str) -> bytes:
    return msgspec.json.encode(
        {"error": {"message": message, "type": kind, "param": None, "code": None}}
    )


def _token(position: int) -> str:
    return f"{_WORDS[position % len(_WORDS)]} "


def _usage(body: GenerateBody) -> str:
    num_prompt, num_tokens = body.num_prompt_tokens, body.num_tokens
    return (
        f'"usage":{{"prompt_tokens":{num_prompt},"completion_tokens":{num_tokens},'
        f'"total_tokens":{num_prompt + num_tokens}}}'
    )
