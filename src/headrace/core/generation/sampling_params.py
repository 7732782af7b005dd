"""The sampling parameters of a request and their ranges. engine.sampling implements them."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import msgspec

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.grammar import Grammar
from headrace.core.generation.token_ids import show_token_ids, show_value

DEFAULT_MAX_LOGPROBS = 20
"""The default of --max-logprobs, as in OpenAI's API and in vLLM."""
MAX_CHOICES = 128
MAX_TEMPERATURE = 100.0
"""OpenAI allows up to 2."""
MIN_REPETITION_PENALTY = 0.01
MAX_REPETITION_PENALTY = 100.0
"""Between these, the largest logit of any model stays finite in float32."""
MAX_LOGIT_BIASES = 1024
"""OpenAI allows 300."""
MAX_STOP_STRINGS = 64
"""OpenAI allows 4; evaluation harnesses and agents send one or two dozen, role-playing chats one
per character name."""
MAX_STOP_STRING_LENGTH = 256
"""Characters. With MAX_STOP_STRINGS it bounds the memory and time of a request's stop strings
(`engine.outputs.stop_automaton`)."""
MAX_STOP_TOKEN_IDS = 256
MAX_BAD_WORDS = 256
MAX_BAD_WORD_LENGTH = 256
"""Characters."""
MAX_LOGPROB_TOKEN_IDS = 1024
MAX_ALLOWED_TOKEN_IDS = 2**16
_MAX_INT32 = 2**31 - 1
"""Parameters without a limit of their own must still fit into messages and tensors."""


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sampling parameters of a request, with the names of OpenAI's API and vLLM.

    Raises InvalidParameterError, naming the parameter, when a value is out of its range.
    """

    n: int = 1
    """Independent choices for one prompt."""
    temperature: float = 1.0
    """0 takes the most likely token (greedy)."""
    top_p: float = 1.0
    """Sample from the smallest set of tokens whose probabilities reach this sum."""
    top_k: int = 0
    """Sample from the k most likely tokens; 0 or -1 means all."""
    min_p: float = 0.0
    """Drop tokens less likely than this fraction of the most likely token's probability."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of each token in the output."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit for each time it occurs in the output."""
    repetition_penalty: float = 1.0
    """Divides positive, multiplies negative logits of tokens in prompt or output (1 = off)."""
    logit_bias: dict[int, float] = {}
    """Added to the logits of these token ids, -100 to 100."""
    seed: int | None = None
    """The same seed gives the same tokens; None draws a seed."""
    stop: tuple[str, ...] = ()
    """Strings that end the output; excluded from it unless include_stop_str_in_output."""
    stop_token_ids: tuple[int, ...] = ()
    """Token ids that end the output."""
    include_stop_str_in_output: bool = False
    min_tokens: int = 0
    """No EOS and no stop token before this many output tokens."""
    max_tokens: int | None = 16
    """At most this many output tokens; None means up to the context length. 0 only computes the
    prompt."""
    ignore_eos: bool = False
    """Continue past the model's end-of-sequence token."""
    logprobs: int | None = None
    """Log-probabilities of the sampled token and of this many most likely ones; -1 means the whole
    vocabulary, None means none."""
    prompt_logprobs: int | None = None
    """Log-probabilities of the prompt's tokens, from the second one on, and of this many most
    likely ones at each position; -1 means the whole vocabulary, None means none."""
    logprob_token_ids: tuple[int, ...] = ()
    """With logprobs: report these tokens in place of the most likely ones."""
    allowed_token_ids: tuple[int, ...] = ()
    """Sample only these tokens; empty means all."""
    bad_words: tuple[str, ...] = ()
    """Texts that are not sampled. LLM and AsyncEngine encode them to bad_words_token_ids."""
    bad_words_token_ids: tuple[tuple[int, ...], ...] = ()
    """Sequences of tokens of which the last one is not sampled after the others."""
    skip_special_tokens: bool = True
    """Leave special tokens such as EOS out of the text."""
    grammar: Grammar | None = None
    """What the output must match; None for free text."""

    def __post_init__(self) -> None:
        _check_integer("n", self.n, 1, MAX_CHOICES)
        _check_number("temperature", self.temperature, 0.0, MAX_TEMPERATURE)
        _check_number("top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0.0:
            raise InvalidParameterError("top_p", "must be in (0, 1], got 0")
        _check_integer("top_k", self.top_k, -1, _MAX_INT32)
        _check_number("min_p", self.min_p, 0.0, 1.0)
        _check_number("presence_penalty", self.presence_penalty, -2.0, 2.0)
        _check_number("frequency_penalty", self.frequency_penalty, -2.0, 2.0)
        _check_number(
            "repetition_penalty",
            self.repetition_penalty,
            MIN_REPETITION_PENALTY,
            MAX_REPETITION_PENALTY,
        )
        if self.logit_bias != {}:
            _check_logit_bias(self.logit_bias)
        if self.seed is not None:
            _check_integer("seed", self.seed, -(2**63), 2**63 - 1)
        if self.stop != ():
            _check_texts("stop", self.stop, MAX_STOP_STRINGS, MAX_STOP_STRING_LENGTH)
        if self.stop_token_ids != ():
            _check_id_list("stop_token_ids", self.stop_token_ids, MAX_STOP_TOKEN_IDS)
        _check_integer("min_tokens", self.min_tokens, 0, _MAX_INT32)
        if self.max_tokens is not None:
            _check_integer("max_tokens", self.max_tokens, 0, _MAX_INT32)
            if self.min_tokens > self.max_tokens:
                raise InvalidParameterError(
                    "min_tokens",
                    f"must be at most max_tokens ({self.max_tokens}), got {self.min_tokens}",
                )
        if self.logprobs is not None:
            _check_integer("logprobs", self.logprobs, -1, _MAX_INT32)
        if self.prompt_logprobs is not None:
            _check_integer("prompt_logprobs", self.prompt_logprobs, -1, _MAX_INT32)
        if self.logprob_token_ids != ():
            if self.logprobs is None:
                raise InvalidParameterError("logprob_token_ids", "requires logprobs")
            _check_id_list("logprob_token_ids", self.logprob_token_ids, MAX_LOGPROB_TOKEN_IDS)
        if self.allowed_token_ids != ():
            _check_id_list("allowed_token_ids", self.allowed_token_ids, MAX_ALLOWED_TOKEN_IDS)
        if self.bad_words != ():
            _check_texts("bad_words", self.bad_words, MAX_BAD_WORDS, MAX_BAD_WORD_LENGTH)
        if self.bad_words_token_ids != ():
            _check_bad_words_token_ids(self.bad_words_token_ids)
        if self.grammar is not None and not isinstance(self.grammar, Grammar):
            raise InvalidParameterError("grammar", "must be a Grammar")

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

    @property
    def has_token_bans(self) -> bool:
        """Whether it bans tokens as long as the request runs."""
        return self.allowed_token_ids != () or self.bad_words_token_ids != ()

    def replace(self, **changes: Any) -> "SamplingParams":
        """A copy with these fields changed, checked again."""
        return msgspec.structs.replace(self, **changes)


def _check_number(param: str, value: float, low: float, high: float) -> None:
    if type(value) is not float and not isinstance(value, Real):
        raise InvalidParameterError(param, f"must be a number, got {show_value(value)}")
    if not low <= value <= high:  # False for NaN too
        raise InvalidParameterError(
            param, f"must be between {low:g} and {high:g}, got {show_value(value)}"
        )


def _check_integer(param: str, value: int, low: int, high: int) -> None:
    if type(value) is not int and not isinstance(value, Integral):
        raise InvalidParameterError(param, f"must be a whole number, got {show_value(value)}")
    if not low <= value <= high:
        bounds = f"at least {low}" if high == _MAX_INT32 else f"between {low} and {high}"
        bounds = bounds if value < low else f"at most {high}"
        raise InvalidParameterError(param, f"must be {bounds}, got {show_value(value)}")


def _check_number_of(param: str, count: int, limit: int) -> None:
    if count > limit:
        raise InvalidParameterError(param, f"may have at most {limit} entries, got {count}")


def _check_ids(param: str, token_ids: Iterable[int]) -> None:
    """`engine.admission` checks the upper bound, the size of the vocabulary."""
    wrong = [each for each in token_ids if not isinstance(each, Integral) or each < 0]
    if wrong:
        raise InvalidParameterError(
            param, f"token ids must be whole numbers from 0 on, got {show_token_ids(wrong)}"
        )


def _check_logit_bias(logit_bias: Mapping[int, float]) -> None:
    if not isinstance(logit_bias, Mapping):
        raise InvalidParameterError("logit_bias", "must be a mapping of token ids to biases")
    _check_number_of("logit_bias", len(logit_bias), MAX_LOGIT_BIASES)
    _check_ids("logit_bias", logit_bias)
    wrong = [
        token_id
        for token_id, bias in logit_bias.items()
        if not isinstance(bias, Real) or not -100.0 <= bias <= 100.0
    ]
    if wrong:
        raise InvalidParameterError(
            "logit_bias",
            f"biases must be between -100 and 100; out of this range: those of token ids "
            f"{show_token_ids(wrong)}",
        )


def _check_id_list(param: str, token_ids: Sequence[int], limit: int) -> None:
    if not isinstance(token_ids, (tuple, list)):
        raise InvalidParameterError(param, "must be a tuple of token ids")
    _check_number_of(param, len(token_ids), limit)
    _check_ids(param, token_ids)


def _check_bad_words_token_ids(sequences: Sequence[Sequence[int]]) -> None:
    param = "bad_words_token_ids"
    if not isinstance(sequences, (tuple, list)) or not all(sequences):
        raise InvalidParameterError(param, "must be a tuple of tuples of token ids, none empty")
    _check_number_of(param, len(sequences), 2 * MAX_BAD_WORDS)
    for sequence in sequences:
        _check_id_list(param, sequence, 4 * MAX_BAD_WORD_LENGTH + 4)


def _check_texts(param: str, texts: Sequence[str], limit: int, max_length: int) -> None:
    if not isinstance(texts, (tuple, list)) or any(not isinstance(text, str) for text in texts):
        raise InvalidParameterError(param, "must be a tuple of texts")
    _check_number_of(param, len(texts), limit)
    if not all(texts):
        raise InvalidParameterError(param, "must not hold an empty string")
    longest = max(map(len, texts), default=0)
    if longest > max_length:
        raise InvalidParameterError(
            param, f"texts may have at most {max_length} characters, got one of {longest}"
        )
