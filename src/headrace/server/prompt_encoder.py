"""Tokenization that does not block the event loop."""

import asyncio
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from headrace.core.errors import ContextLengthError
from headrace.engine.admission import check_prompt
from headrace.engine.tokenization.input_encoder import (
    EncodedInput,
    Input,
    Truncation,
    encode_inputs,
)
from headrace.engine.tokenization.literal_text import HiddenTokens, LiteralText
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

MAX_TRUNCATED_LENGTH = 2**22
"""Characters of a text that is truncated after tokenization, about 1 s. A longer one is refused if
it cannot fit."""

_T = TypeVar("_T")
_Text = TypeVar("_Text", str, Input)


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text's tokens."""

    token_ids: list[int]
    strings: list[str] | None
    """The tokens as the vocabulary has them, if asked for."""


class PromptEncoder:
    """Encodes and decodes the prompts of requests, for one event loop.

    A text that cannot fit into the context is refused without tokenization. Work that would block
    the loop runs in a few threads, in which the tokenizer releases the interpreter lock.
    """

    def __init__(self, tokenizer: Tokenizer, *, vocab_size: int, max_model_len: int) -> None:
        self._tokenizer = tokenizer
        self._literal_text = LiteralText(tokenizer)
        self._text_bound = tokenizer.text_bound
        self._vocab_size = vocab_size
        self._max_model_len = max_model_len
        self._short = ThreadPoolExecutor(NUM_SHORT_THREADS, "tokenize")
        self._long = ThreadPoolExecutor(1, "tokenize-long")

    def close(self) -> None:
        """End the threads, after what they are doing."""
        for executor in (self._short, self._long):
            executor.shutdown(wait=False, cancel_futures=True)

    async def encode(
        self,
        texts: Sequence[str],
        *,
        add_special_tokens: bool,
        truncation: Truncation | None = None,
        hidden: HiddenTokens | None = None,
    ) -> list[list[int]]:
        """The token ids of each text. Raises ContextLengthError if a text cannot fit.

        hidden: encode the special tokens that it hides as text.
        """
        hidden = hidden if hidden is not None and hidden.texts else None
        for text in texts:
            self.check_text(text if hidden is None else hidden.show(text), truncation)
        cost = _cost_of(texts, hidden)
        limit = self._max_model_len if truncation is None else None
        encode = functools.partial(self._encode, texts, add_special_tokens, limit, hidden)
        token_ids = await self._run(encode, cost)
        return token_ids if truncation is None else list(map(truncation.apply, token_ids))

    async def encode_inputs(
        self, inputs: Sequence[Input], truncation: Truncation | None, *, add_special_tokens: bool
    ) -> list[EncodedInput]:
        """The tokens of texts or pairs, which may fill the whole context.

        Raises ContextLengthError if one cannot fit, InvalidParameterError if truncation leaves no
        text.
        """
        texts = [text for each in inputs for text in ([each] if isinstance(each, str) else each)]
        for text in texts:
            self._check_bound(text, self._max_model_len, truncation)
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

    async def hide_special_tokens(self, value: _T, hidden: HiddenTokens, num_chars: int) -> _T:
        """See LiteralText.hide. num_chars: about the number of characters in the value."""
        return await self._run(
            functools.partial(self._literal_text.hide, value, hidden), 4 * num_chars
        )

    async def tokenize(
        self,
        text: str,
        *,
        add_special_tokens: bool,
        with_strings: bool,
        hidden: HiddenTokens | None = None,
    ) -> EncodedText:
        """The tokens of a text that need not fit into the context. The caller bounds its length.

        hidden: encode the special tokens that it hides as text.
        """
        hidden = hidden if hidden is not None and hidden.texts else None
        work = functools.partial(self._tokenize, text, add_special_tokens, with_strings, hidden)
        return await self._run(work, _cost_of([text], hidden))

    async def decode(
        self, prompts: Sequence[list[int]], *, skip_special_tokens: bool = True
    ) -> list[str]:
        """The text of each prompt. Its ids must be in the vocabulary."""
        cost = sum(map(len, prompts)) + TEXT_COST * len(prompts)
        decode = functools.partial(self._tokenizer.decode_batch, prompts, skip_special_tokens)
        return await self._run(decode, cost)

    def check(self, token_ids: list[int]) -> None:
        """Raises InvalidParameterError for unknown token ids and an empty prompt,
        ContextLengthError for a prompt that does not fit."""
        check_prompt(token_ids, self._vocab_size)
        if len(token_ids) >= self._max_model_len:
            raise ContextLengthError(len(token_ids), self._max_model_len)

    def check_text(self, text: str, truncation: Truncation | None = None) -> None:
        """Raises ContextLengthError for a text that cannot fit, without tokenization."""
        self._check_bound(text, self._max_model_len - 1, truncation)

    def _check_bound(self, text: str, room: int, truncation: Truncation | None) -> None:
        """room: the most tokens that fit."""
        is_cut = truncation is not None and len(text) <= MAX_TRUNCATED_LENGTH
        if self._text_bound is None or is_cut:
            return
        num_tokens = self._text_bound.min_num_tokens(text)
        if num_tokens > room:
            raise ContextLengthError(num_tokens, self._max_model_len, is_lower_bound=True)

    def _encode(
        self,
        texts: Sequence[str],
        add_special_tokens: bool,
        max_model_len: int | None,
        hidden: HiddenTokens | None,
    ) -> list[list[int]]:
        found: list[list[int]] = []
        for batch in _batches(texts):
            if hidden is None:
                found += self._tokenizer.encode_batch(batch, add_special_tokens, max_model_len)
            else:
                found += self._literal_text.encode_batch(
                    batch, hidden, add_special_tokens, max_model_len
                )
        return found

    def _tokenize(
        self,
        text: str,
        add_special_tokens: bool,
        with_strings: bool,
        hidden: HiddenTokens | None,
    ) -> EncodedText:
        [token_ids] = self._encode([text], add_special_tokens, None, hidden)
        strings = self._tokenizer.token_strings(token_ids) if with_strings else None
        return EncodedText(token_ids, strings)

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


def _cost_of(texts: Sequence[str], hidden: HiddenTokens | None) -> int:
    cost = sum(map(len, texts)) + TEXT_COST * len(texts)
    # With hidden tokens, a tokenizer is loaded the first time.
    return cost if hidden is None else cost + MAX_INLINE_COST
