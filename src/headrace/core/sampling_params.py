"""How one request wants its tokens drawn. Knows the rules of each parameter, not how to draw."""

import math
from typing import Any

import msgspec

from headrace.core.errors import InvalidParameterError

MAX_LOGPROBS = 20
MAX_CHOICES = 128
MAX_LOGIT_BIASES = 1024
"""OpenAI takes 300."""
MAX_STOP_STRINGS = 64
"""OpenAI takes 4; evaluation harnesses and agents send one or two dozen, a chat of many characters
one for each name."""
MAX_STOP_STRING_LENGTH = 256
"""Characters. With the number above it bounds the memory and the time that a request's stop strings
take (`engine.outputs.stop_checker`)."""
MAX_STOP_TOKEN_IDS = 256


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sampling parameters of a request, under the names that OpenAI's and vLLM's users know.

    Raises InvalidParameterError, naming the parameter, when a value is out of its range.
    """

    n: int = 1
    """Independent choices for one prompt."""
    temperature: float = 1.0
    """0 takes the likeliest token (greedy)."""
    top_p: float = 1.0
    """Draw from the smallest set of tokens whose probabilities reach this sum."""
    top_k: int = 0
    """Draw from the k likeliest tokens; 0 or -1 means all."""
    min_p: float = 0.0
    """Drop tokens less likely than this share of the likeliest one's probability."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of each token that is in the output."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit for every time it is in the output."""
    repetition_penalty: float = 1.0
    """Divides positive, multiplies negative logits of tokens in prompt or output (1 = off)."""
    logit_bias: dict[int, float] = {}
    """Added to the logits of these token ids, -100 to 100."""
    seed: int | None = None
    """Same seed, same tokens; None draws one."""
    stop: tuple[str, ...] = ()
    """Texts that end the output, not included in it."""
    stop_token_ids: tuple[int, ...] = ()
    """Token ids that end the output."""
    include_stop_str_in_output: bool = False
    min_tokens: int = 0
    """No EOS and no stop token before this many output tokens."""
    max_tokens: int | None = 16
    """At most this many output tokens; None means up to the context length."""
    ignore_eos: bool = False
    """Go on past the model's end-of-sequence token."""
    logprobs: int | None = None
    """Log-probabilities of the drawn token and of this many likeliest ones; None means none."""
    skip_special_tokens: bool = True
    """Leave special tokens such as EOS out of the text."""

    def __post_init__(self) -> None:
        _check_range("n", self.n, 1, MAX_CHOICES)
        _check_range("temperature", self.temperature, 0.0, 1e6)
        if not 0.0 < self.top_p <= 1.0:
            raise InvalidParameterError("top_p", f"must be in (0, 1], got {self.top_p}")
        _check_range("top_k", self.top_k, -1, math.inf)
        _check_range("min_p", self.min_p, 0.0, 1.0)
        _check_range("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _check_range("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        if not 0.0 < self.repetition_penalty < math.inf:
            raise InvalidParameterError(
                "repetition_penalty", f"must be a positive number, got {self.repetition_penalty}"
            )
        for bias in self.logit_bias.values():
            _check_range("logit_bias", bias, -100.0, 100.0)
        if any(token_id < 0 for token_id in self.logit_bias):
            raise InvalidParameterError("logit_bias", "token ids must not be negative")
        if self.seed is not None:
            _check_range("seed", self.seed, -(2**63), 2**63 - 1)
        if any(not text for text in self.stop):
            raise InvalidParameterError("stop", "must not hold an empty string")
        _check_range("min_tokens", self.min_tokens, 0, math.inf)
        if self.max_tokens is not None:
            _check_range("max_tokens", self.max_tokens, 1, math.inf)
            if self.min_tokens > self.max_tokens:
                raise InvalidParameterError(
                    "min_tokens",
                    f"must be at most max_tokens ({self.max_tokens}), got {self.min_tokens}",
                )
        if self.logprobs is not None:
            _check_range("logprobs", self.logprobs, 0, MAX_LOGPROBS)

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0.0

    @property
    def has_penalties(self) -> bool:
        return (
            self.presence_penalty != 0.0
            or self.frequency_penalty != 0.0
            or self.repetition_penalty != 1.0
        )

    def replace(self, **changes: Any) -> "SamplingParams":
        """A copy with these fields changed, checked again."""
        return msgspec.structs.replace(self, **changes)


def _check_range(param: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # False for NaN too
        bounds = f"at least {low}" if high == math.inf else f"between {low} and {high}"
        raise InvalidParameterError(param, f"must be {bounds}, got {value}")
