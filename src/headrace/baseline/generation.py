"""Generates with transformers' ``generate``, one request at a time, in FIFO order.

Naive on purpose: no batching, no cache between requests, and a request whose client has
disconnected is still computed to its end.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AsyncTextIteratorStreamer

from headrace.baseline.loading import LoadedModel


@dataclass(frozen=True)
class Sampling:
    """One request's sampling parameters."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    ignore_eos: bool = False


@dataclass(frozen=True)
class Answer:
    """The output of one request."""

    text: str
    num_tokens: int
    """Generated tokens, the end token included."""
    finish_reason: str
    """``stop`` or ``length``."""


class Generator:
    """The model, and the single thread in which it computes."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")
        self._is_closing = False

    async def answer(self, prompt: list[int], sampling: Sampling) -> Answer:
        """The whole answer at once."""
        return await asyncio.wrap_future(self._thread.submit(self._generate, prompt, sampling))

    def stream(self, prompt: list[int], sampling: Sampling) -> "AnswerStream":
        """The answer as it comes; it begins at once, whether or not it is read."""
        # The asynchronous streamer: each waiting TextIteratorStreamer would hold a thread.
        streamer = AsyncTextIteratorStreamer(
            self._tokenizer, skip_prompt=True, skip_special_tokens=True
        )

        def generate() -> Answer:
            try:
                return self._generate(prompt, sampling, streamer)
            except BaseException:
                streamer.on_finalized_text("", stream_end=True)  # or the reader waits for ever
                raise

        return AnswerStream(streamer, self._thread.submit(generate))

    def close(self) -> None:
        """Take no more requests, and end the one that is being computed."""
        self._is_closing = True
        self._thread.shutdown(cancel_futures=True)

    def _generate(self, prompt: list[int], sampling: Sampling, streamer: Any = None) -> Answer:
        input_ids = torch.tensor([prompt], device=self._model.device)
        drawing: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            drawing = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": 0,  # transformers' own default is 50, which no client asked for
            }
        with torch.inference_mode():
            output = self._model.generate(
                input_ids,
                attention_mask=torch.ones_like(input_ids),
                max_new_tokens=sampling.max_tokens,
                min_new_tokens=sampling.max_tokens if sampling.ignore_eos else None,
                pad_token_id=self._pad_token_id,
                streamer=streamer,
                stopping_criteria=[self._stops],
                **drawing,
            )
        tokens = output[0, len(prompt) :].tolist()
        ended = not sampling.ignore_eos and bool(tokens) and tokens[-1] in self._eos_token_ids
        return Answer(
            text=self._tokenizer.decode(tokens, skip_special_tokens=True),
            num_tokens=len(tokens),
            finish_reason="stop" if ended else "length",
        )

    def _stops(self, input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self._is_closing, device=input_ids.device)

    @property
    def _eos_token_ids(self) -> list[int]:
        ids = self._model.generation_config.eos_token_id
        return ids if isinstance(ids, list) else [] if ids is None else [ids]

    @property
    def _pad_token_id(self) -> int | None:
        """Nothing is ever padded with it, but generate warns where there is none."""
        return self._eos_token_ids[0] if self._eos_token_ids else None


class AnswerStream:
    """Pieces of text while they come, and afterwards the answer that they make."""

    def __init__(self, streamer: AsyncTextIteratorStreamer, future: "Future[Answer]") -> None:
        self._streamer = streamer
        self._future = future

    async def pieces(self) -> AsyncIterator[str]:
        """Whole words mostly: the streamer holds a word back until it has ended."""
        async for piece in self._streamer:
            if piece:
                yield piece

    async def answer(self) -> Answer:
        """Once the pieces have ended; raises what went wrong."""
        return await asyncio.wrap_future(self._future)
