"""Tokenizing without holding up the streams of others.

Knows neither endpoints nor templates.
"""

import asyncio

from headrace.engine.tokenization.tokenizer import Tokenizer

LONG_TEXT = 20_000
"""Characters; about ten milliseconds of tokenizing, longer than which the loop must not wait."""


async def encode(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool) -> list[int]:
    """The text's token ids; a long text is tokenized beside the loop."""
    if len(text) < LONG_TEXT:
        return tokenizer.encode(text, add_special_tokens=add_special_tokens)
    return await asyncio.to_thread(tokenizer.encode, text, add_special_tokens=add_special_tokens)
