"""Tokenization that does not block the event loop."""

import asyncio
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from headrace.core.errors import ContextLengthError
from headrace.engine.admission import check_prompt
from headrace.engine.tokenization.input_encoder import (
    EncodedInput,
    Input,
    Truncation,
    encode_inputs,
)
from headrace.engine.tokenization.tokenizer import Tokenizer

MAX_INLINE_COST = 8_000
"""Characters, about 2 ms of tokenization. Larger work runs in a thread; a handover to a thread
takes about 0.1 ms."""
TEXT_COST = 20
"""Fixed cost of a text, in characters."""
MAX_SHORT_COST = 200_000
"""Characters, about 50 ms. Larger work has a separate thread, so that shorter work does not queue
behind it."""
NUM_SHORT_THREADS = 2
_BATCH_COST = 16_000
"""Characters per call of the tokenizer, to limit handovers of the interpreter lock."""

_T = TypeVar("_T")
_Text = TypeVar("_Text", str, Input)


class PromptEncoder:
    """Encodes and decodes the prompts of requests, for one event loop.

    A text that cannot fit into the context is refused without tokenization. Work that would block
    the loop runs in a few threads, in which the tokenizer releases the interpreter lock.
    """

    def __init__(self, tokenizer: Tokenizer, *, vocab_size: int, max_model_len: int) -> None:
        self._tokenizer = tokenizer
        self._text_bound = tokenizer.text_bound
        self._vocab_size = vocab_size
        self._max_model_len = max_model_len
        self._short = ThreadPoolExecutor(NUM_SHORT_THREADS, "tokenize")
        self._long = ThreadPoolExecutor(1, "tokenize-long")

    async def encode(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[list[int]]:
        """The token ids of each text. Raises ContextLengthError if a text cannot fit."""
        for text in texts:
            self._check_length(text)
        cost = sum(map(len, texts)) + TEXT_COST * len(texts)
        encode = functools.partial(self._encode, texts, add_special_tokens)
        return await self._run(encode, cost)

    async def encode_inputs(
        self, inputs: Sequence[Input], truncation: Truncation | None, *, add_special_tokens: bool
    ) -> list[EncodedInput]:
        """The tokens of texts or pairs, which may fill the whole context.

        Raises ContextLengthError if one cannot fit, InvalidParameterError if truncation leaves no
        text.
        """
        texts = [text for each in inputs for text in ([each] if isinstance(each, str) else each)]
        if self._text_bound is not None and truncation is None:
            for text in texts:
                num_tokens = self._text_bound.min_num_tokens(text)
                if num_tokens > self._max_model_len:
                    raise ContextLengthError(num_tokens, self._max_model_len, is_lower_bound=True)
        cost = sum(map(len, texts)) + TEXT_COST * len(texts)

        def encode() -> list[EncodedInput]:
            found: list[EncodedInput] = []
            for batch in _batches(inputs):
                found += encode_inputs(
                    self._tokenizer,
                    batch,
                    self._max_model_len,
                    truncation,
                    add_special_tokens=add_special_tokens,
                )
            return found

        return await self._run(encode, cost)

    async def decode(self, prompts: Sequence[list[int]]) -> list[str]:
        """The text of each prompt. The prompts must have passed ``check``."""
        cost = sum(map(len, prompts)) + TEXT_COST * len(prompts)
        decode = functools.partial(self._tokenizer.decode_batch, prompts)
        return await self._run(decode, cost)

    def check(self, token_ids: list[int]) -> None:
        """Raises InvalidParameterError for unknown token ids and an empty prompt,
        ContextLengthError for a prompt that does not fit."""
        check_prompt(token_ids, self._vocab_size)
        if len(token_ids) >= self._max_model_len:
            raise ContextLengthError(len(token_ids), self._max_model_len)

    def _check_length(self, text: str) -> None:
        if self._text_bound is None:
            return
        num_tokens = self._text_bound.min_num_tokens(text)
        if num_tokens >= self._max_model_len:
            raise ContextLengthError(num_tokens, self._max_model_len, is_lower_bound=True)

    def _encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        found: list[list[int]] = []
        for batch in _batches(texts):
            found += self._tokenizer.encode_batch(batch, add_special_tokens, self._max_model_len)
        return found

    async def _run(self, work: Callable[[], _T], cost: int) -> _T:
        if cost <= MAX_INLINE_COST:
            return work()
        executor = self._short if cost <= MAX_SHORT_COST else self._long
        return await asyncio.get_running_loop().run_in_executor(executor, work)


def _batches(texts: Sequence[_Text]) -> list[list[_Text]]:
    """The texts or pairs in order, in batches of about _BATCH_COST characters."""
    batches: list[list[_Text]] = []
    room = 0
    for text in texts:
        cost = (len(text) if isinstance(text, str) else sum(map(len, text))) + TEXT_COST
        if not batches or cost > room:
            batches.append([])
            room = _BATCH_COST
        batches[-1].append(text)
        room -= cost
    return batches
