"""Every parameter has a finite range; values outside it are refused with its name."""

import math
from typing import Any

import msgspec
import pytest

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.grammar import Grammar
from headrace.core.generation.sampling_params import (
    MAX_BAD_WORD_LENGTH,
    MAX_BAD_WORDS,
    MAX_LOGIT_BIASES,
    MAX_LOGPROB_TOKEN_IDS,
    MAX_STOP_STRING_LENGTH,
    MAX_STOP_STRINGS,
    MAX_STOP_TOKEN_IDS,
    SamplingParams,
)

EXTREMES: list[Any] = [
    *(math.nan, math.inf, -math.inf, 1.7e308, -1.7e308),
    *(2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 2**64, 10**5000, -(10**5000)),
]
FIELDS = {field.name: field for field in msgspec.structs.fields(SamplingParams)}
NUMBERS = [
    name for name, field in FIELDS.items() if field.type in (int, float, int | None, float | None)
]


def test_all_numeric_parameters_are_covered() -> None:
    """Parameters that are neither numbers nor listed here need separate tests."""
    others = {
        *("logit_bias", "stop", "stop_token_ids", "grammar", "bad_words", "bad_words_token_ids"),
        *("allowed_token_ids", "logprob_token_ids"),
    }
    flags = {name for name, field in FIELDS.items() if field.type is bool}
    assert FIELDS.keys() - NUMBERS - others - flags == set()


def refused(**params: Any) -> InvalidParameterError:
    with pytest.raises(InvalidParameterError) as caught:
        SamplingParams(**params)
    (name,) = params
    assert caught.value.param == name
    assert len(str(caught.value)) < 1000
    return caught.value


@pytest.mark.parametrize(
    "value", EXTREMES, ids=lambda value: str(float(value)) if abs(value) < 1e300 else "huge"
)
@pytest.mark.parametrize("name", NUMBERS)
def test_extreme_values_are_refused(name: str, value: Any) -> None:
    if name == "seed" and value in (2**31, -(2**31) - 1):
        SamplingParams(seed=value)  # any 64 bits
        return
    if name in ("top_k", "min_tokens", "max_tokens") and isinstance(value, float):
        value = -abs(value)
    refused(**{name: value})


@pytest.mark.parametrize("value", ["1", None, [1.0], {}])
@pytest.mark.parametrize("name", NUMBERS)
def test_non_numbers_are_refused(name: str, value: Any) -> None:
    if value is None and FIELDS[name].type in (int | None, float | None):
        return
    refused(**{name: value})


@pytest.mark.parametrize(
    "name", [name for name in NUMBERS if FIELDS[name].type in (int, int | None)]
)
def test_fractional_integers_are_refused(name: str) -> None:
    refused(**{name: 1.5})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 0),
        ("temperature", -0.01),
        ("temperature", 100.1),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("top_k", -2),
        ("min_p", -0.01),
        ("min_p", 1.01),
        ("presence_penalty", 2.01),
        ("frequency_penalty", -2.01),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 1e-46),
        ("repetition_penalty", 0.009),
        ("repetition_penalty", 100.1),
        ("repetition_penalty", -1.0),
        ("min_tokens", -1),
        ("min_tokens", 17),  # above the default of max_tokens
        ("max_tokens", -1),
        ("logprobs", -2),
        ("prompt_logprobs", -2),
    ],
)
def test_values_out_of_range_are_rejected(name: str, value: float) -> None:
    refused(**{name: value})


@pytest.mark.parametrize("value", [5e-324, 1e-46, 1e-30, 0.0, -0.0])
@pytest.mark.parametrize("name", ["temperature", "min_p", "presence_penalty", "top_p"])
def test_values_close_to_zero_are_accepted(name: str, value: float) -> None:
    if name == "top_p" and value == 0:
        refused(top_p=value)
    else:
        SamplingParams(**{name: value})


@pytest.mark.parametrize("bias", [math.nan, math.inf, -math.inf, 100.01, -1e300, None, "1"])
def test_biases_out_of_range_are_named_by_their_tokens(bias: Any) -> None:
    error = refused(logit_bias={7: 1.0, 12: bias, 9: bias, 3: -100.0})
    assert "12, 9" in str(error)


def test_negative_token_ids_are_named() -> None:
    error = refused(logit_bias={7: 1.0, -12: 1.0, -(10**40): 1.0})
    assert "-12" in str(error)
    refused(stop_token_ids=(1, -1))
    refused(stop_token_ids=(1, 1.5))


def test_list_lengths_are_limited() -> None:
    SamplingParams(
        logit_bias=dict.fromkeys(range(MAX_LOGIT_BIASES), 1.0),
        stop=("x" * MAX_STOP_STRING_LENGTH,) * MAX_STOP_STRINGS,
        stop_token_ids=tuple(range(MAX_STOP_TOKEN_IDS)),
    )
    refused(logit_bias=dict.fromkeys(range(MAX_LOGIT_BIASES + 1), 1.0))
    refused(stop=("x",) * (MAX_STOP_STRINGS + 1))
    refused(stop=("x" * (MAX_STOP_STRING_LENGTH + 1),))
    refused(stop_token_ids=tuple(range(MAX_STOP_TOKEN_IDS + 1)))


@pytest.mark.parametrize("stop", ["END", "", None, 1, ("",), ("a", ""), (1,), (b"END",)])
def test_invalid_stop_strings_are_refused(stop: Any) -> None:
    refused(stop=stop)


@pytest.mark.parametrize("value", [None, 1, "1", ("1",)])
def test_invalid_token_id_lists_are_refused(value: Any) -> None:
    refused(stop_token_ids=value)
    refused(logit_bias=value)


def test_texts_and_token_ids_of_bans_are_limited() -> None:
    SamplingParams(
        bad_words=("x" * MAX_BAD_WORD_LENGTH,) * MAX_BAD_WORDS,
        allowed_token_ids=(1, 2),
        bad_words_token_ids=((1,), (1, 2)),
    )
    refused(bad_words=("x",) * (MAX_BAD_WORDS + 1))
    refused(bad_words=("x" * (MAX_BAD_WORD_LENGTH + 1),))
    refused(bad_words=("",))
    refused(allowed_token_ids=(-1,))
    refused(bad_words_token_ids=((),))


def test_chosen_tokens_require_logprobs() -> None:
    refused(logprob_token_ids=(1,))
    with pytest.raises(InvalidParameterError) as caught:
        SamplingParams(logprobs=0, logprob_token_ids=(0,) * (MAX_LOGPROB_TOKEN_IDS + 1))
    assert caught.value.param == "logprob_token_ids"


@pytest.mark.parametrize("value", ["[a-z]+", {"type": "object"}, ("regex", "a"), True])
def test_only_a_grammar_is_a_grammar(value: Any) -> None:
    refused(grammar=value)
    SamplingParams(grammar=Grammar.regex("[a-z]+"))
