"""How many tokens texts have, counted where a tokenizer is given and guessed where none is.

Knows no data set.
"""

import math
from collections.abc import Sequence

from headrace.bench.figures.token_counter import TokenCounter

_CHARACTERS_PER_TOKEN = 4
"""Of English, with vocabularies of today."""


def num_tokens_of(texts: Sequence[str], counter: TokenCounter | None) -> list[int]:
    """One number a text; a guess where there is no counter."""
    if counter is not None:
        return counter.count_all(texts)
    return [math.ceil(len(text) / _CHARACTERS_PER_TOKEN) for text in texts]
