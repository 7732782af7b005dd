"""Encodes the inputs of pooling requests: texts or pairs of texts, truncated if that is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headrace.core.errors import ContextLengthError, InvalidParameterError
from headrace.engine.tokenization.tokenizer import Tokenizer

Input = str | tuple[str, str]
"""A text, or a pair of texts that is scored together."""
Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Truncation:
    """Keep at most this many tokens of each prompt, special tokens included."""

    max_tokens: int
    side: Side = "right"
    """The side from which tokens are removed."""

    def apply(self, token_ids: list[int]) -> list[int]:
        if len(token_ids) <= self.max_tokens:
            return token_ids
        return (
            token_ids[-self.max_tokens :] if self.side == "left" else token_ids[: self.max_tokens]
        )


@dataclass(frozen=True, slots=True)
class EncodedInput:
    token_ids: list[int]
    second_start: int | None = None
    """Of a pair: where the tokens of the second text begin, if the model tells them apart."""


def encode_inputs(
    tokenizer: Tokenizer,
    inputs: Sequence[Input],
    max_model_len: int,
    truncation: Truncation | None = None,
    *,
    add_special_tokens: bool = True,
) -> list[EncodedInput]:
    """Raises ContextLengthError for an input that does not fit, InvalidParameterError when
    truncation leaves no room for text."""
    if truncation is None:
        encodings = tokenizer.backend.encode_batch_fast(
            list(inputs), add_special_tokens=add_special_tokens
        )
    else:
        encodings = _encode_truncated(tokenizer, inputs, truncation, add_special_tokens)
    longest = max(map(len, encodings), default=0)
    if longest > max_model_len:
        raise ContextLengthError(longest, max_model_len)
    return [EncodedInput(encoding.ids, _second_start(encoding)) for encoding in encodings]


def _encode_truncated(
    tokenizer: Tokenizer, inputs: Sequence[Input], truncation: Truncation, with_special: bool
) -> list[Any]:
    """Truncate the texts, then add the special tokens, so that none of these is cut off."""
    backend = tokenizer.backend
    first = [each if isinstance(each, str) else each[0] for each in inputs]
    second = [each[1] for each in inputs if not isinstance(each, str)]
    is_pair = bool(second)
    budget = truncation.max_tokens
    if with_special:
        budget -= backend.num_special_tokens_to_add(is_pair)
    if budget < 1 + is_pair:
        raise InvalidParameterError(
            "truncate_prompt_tokens",
            f"must leave room for text beside {truncation.max_tokens - budget} special tokens, got "
            f"{truncation.max_tokens}",
        )
    encoded = backend.encode_batch_fast(first, add_special_tokens=False)
    others = backend.encode_batch_fast(second, add_special_tokens=False) if is_pair else []
    joined = []
    for place, encoding in enumerate(encoded):
        other = others[place] if is_pair else None
        _shorten(encoding, other, budget, truncation.side)
        joined.append(backend.post_process(encoding, other, with_special))
    return joined


def _shorten(first: Any, second: Any | None, budget: int, side: Side) -> None:
    """Of a pair, the longer text loses tokens first, as in transformers' ``longest_first``."""
    if second is None:
        first.truncate(budget, direction=side)
        return
    if len(first) + len(second) <= budget:
        return
    half = budget // 2
    if len(first) <= half:
        second.truncate(budget - len(first), direction=side)
    elif len(second) <= half:
        first.truncate(budget - len(second), direction=side)
    else:
        first.truncate(budget - half, direction=side)
        second.truncate(half, direction=side)


def _second_start(encoding: Any) -> int | None:
    types = encoding.type_ids
    return types.index(1) if 1 in types else None
