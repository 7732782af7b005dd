"""A chat with a model: its messages, its sampling parameters, and the next answer as a stream."""

import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.model_client.model_server import ModelServer


@dataclass(frozen=True)
class Piece:
    """A part of an answer as it arrives."""

    kind: Literal["text", "reasoning"]
    text: str


@dataclass
class AnswerStats:
    """Of one answer."""

    num_prompt_tokens: int = 0
    num_output_tokens: int = 0
    first_token_s: float = 0.0
    seconds: float = 0.0
    finish_reason: str | None = None

    @property
    def tokens_per_s(self) -> float:
        """Without the time to the first token."""
        return (self.num_output_tokens - 1) / max(self.seconds - self.first_token_s, 1e-9)


@dataclass
class Conversation:
    """The messages so far. ``ask`` adds a question and its answer."""

    server: ModelServer
    model: str
    parameters: dict[str, Any] = field(default_factory=dict)
    """Fields of each request, such as temperature."""
    system: str | None = None
    messages: list[dict[str, str]] = field(default_factory=list)
    """Questions and answers, without the system prompt."""
    last_stats: AnswerStats = field(default_factory=AnswerStats)

    def ask(self, question: str) -> Generator[Piece]:
        """The answer, piece by piece. What has arrived is kept as the answer if the iterator is
        closed early; if nothing has, the question is removed too.

        Raises ModelServerError.
        """
        self.messages.append({"role": "user", "content": question})
        answer: list[str] = []
        try:
            yield from self._stream(answer)
        finally:
            if answer:
                self.messages.append({"role": "assistant", "content": "".join(answer)})
            else:
                self.messages.pop()

    def to_json(self) -> str:
        """The model, parameters and messages, as a chat completion request has them."""
        body = {**self.parameters, "model": self.model, "messages": self._all_messages()}
        return json.dumps(body, ensure_ascii=False, indent=2)

    def take_back(self) -> str | None:
        """Remove the last question and its answer; returns the question."""
        while self.messages:
            message = self.messages.pop()
            if message["role"] == "user":
                return message["content"]
        return None

    def _stream(self, answer: list[str]) -> Iterator[Piece]:
        body = {
            **self.parameters,
            "model": self.model,
            "messages": self._all_messages(),
            "stream_options": {"include_usage": True},
        }
        stats = self.last_stats = AnswerStats()
        began = time.monotonic()
        for chunk in self.server.stream("/v1/chat/completions", body):
            stats.seconds = time.monotonic() - began
            usage = chunk.get("usage")
            if usage:
                stats.num_prompt_tokens = usage.get("prompt_tokens", 0)
                stats.num_output_tokens = usage.get("completion_tokens", 0)
            for choice in chunk.get("choices") or ():
                stats.finish_reason = choice.get("finish_reason") or stats.finish_reason
                delta = choice.get("delta") or {}
                reasoning = delta.get("reasoning") or delta.get("reasoning_content")
                if reasoning or delta.get("content"):
                    stats.first_token_s = stats.first_token_s or stats.seconds
                if reasoning:
                    yield Piece("reasoning", reasoning)
                if delta.get("content"):
                    answer.append(delta["content"])
                    yield Piece("text", delta["content"])

    def _all_messages(self) -> list[dict[str, str]]:
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*system, *self.messages]
