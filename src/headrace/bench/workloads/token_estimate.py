"""The number of tokens of texts: counted with a tokenizer, or estimated without one."""

import math
from collections.abc import Sequence

from headrace.bench.figures.token_counter import TokenCounter

_CHARACTERS_PER_TOKEN = 4
"""For English and current vocabularies."""


def num_tokens_of(texts: Sequence[str], counter: TokenCounter | None) -> list[int]:
    """One number per text; an estimate if there is no counter."""
    if counter is not None:
        return counter.count_all(texts)
    return [math.ceil(len(text) / _CHARACTERS_PER_TOKEN) for text in texts]
