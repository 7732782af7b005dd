"""Prompts of a given number of tokens, out of nothing.

As token ids they have exactly the length that is asked for, on any model. As text they are made of
common English words that nearly every vocabulary has as one token each, and are exact where a
tokenizer is given. Knows no data set.
"""

import random
from collections.abc import Callable, Sequence

from headrace.bench.figures.token_counter import TokenCounter, load_token_counter
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.words import WORDS

FIRST_TOKEN_ID = 5
"""Ids before it are special in many models."""

Piece = tuple[int | str, ...]
"""Part of a prompt, one entry a token: ids, or words."""


class PromptMaker:
    """Draws pieces by a random source, and joins them to prompts."""

    def __init__(self, options: WorkloadOptions) -> None:
        self._is_text = options.prompt_form == "text" or (
            options.prompt_form == "auto" and options.is_chat
        )
        self._choices: Sequence[int | str]
        self._count: Callable[[str], int] | None = None
        """Where texts must be counted, as words alone do not tell their tokens."""
        if self._is_text:
            counter = load_token_counter(options.tokenizer)
            self._choices = WORDS if counter is None else _single_tokens(WORDS, counter)
            if counter is not None and not _adds_up(self._choices, counter):
                self._count = counter.count
        else:
            # A vocabulary may be that small in a test: then every id will do.
            first = FIRST_TOKEN_ID if options.vocab_size > FIRST_TOKEN_ID else 0
            self._choices = range(first, options.vocab_size)

    def draw(self, num_tokens: int, source: random.Random) -> Piece:
        return tuple(source.choices(self._choices, k=num_tokens))

    def join(self, pieces: Sequence[Piece]) -> str | tuple[int, ...]:
        """A prompt of these, one after another."""
        entries = [entry for piece in pieces for entry in piece]
        if not self._is_text:
            return tuple(entry for entry in entries if isinstance(entry, int))
        text = " ".join(map(str, entries))
        return text if self._count is None else _fit(text, len(entries), self._count)


def _single_tokens(words: Sequence[str], counter: TokenCounter) -> list[str]:
    """Those that are one token each, at a text's beginning and in its middle; all if none is."""
    alone = counter.count_all(words)
    base, *after = counter.count_all(["a", *(f"a {word}" for word in words)])
    fitting = [
        word
        for word, first, more in zip(words, alone, after, strict=True)
        if first == 1 and more == base + 1
    ]
    return fitting or list(words)


def _adds_up(words: Sequence[int | str], counter: TokenCounter) -> bool:
    """Whether a text has as many tokens as words: some tokenizers join words."""
    sample = [*words, *reversed(words)]
    return counter.count(" ".join(map(str, sample))) == len(sample)


def _fit(text: str, num_tokens: int, count: Callable[[str], int]) -> str:
    """The text with words dropped from its end, or "a" put there, until its tokens are so many.

    Where no number of words fits, it comes out shorter by as little as can be.
    """
    words = text.split(" ")
    while len(words) > 1 and (num_found := count(" ".join(words))) > num_tokens:
        surplus = num_found - num_tokens
        del words[-max(1, surplus * len(words) // num_found) :]
    num_more = num_tokens - count(" ".join(words))
    while num_more > 0:
        longer = [*words, *(["a"] * num_more)]
        lack = num_tokens - count(" ".join(longer))
        if lack >= 0:
            words = longer
        num_more = lack if lack >= 0 else num_more // 2
    return " ".join(words)
