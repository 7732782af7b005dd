"""Requests that the model could not compute are refused with the parameter's name."""

import pytest

from headrace.core.errors import ContextLengthError, InvalidParameterError
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.admission import check_request, choose_seed


def limit(prompt: list[int], params: SamplingParams) -> int:
    return check_request(prompt, params, vocab_size=100, max_model_len=10)


def test_max_tokens_within_the_context_is_used() -> None:
    assert limit([1, 2, 3], SamplingParams(max_tokens=7)) == 7


def test_without_max_tokens_the_rest_of_the_context_is_used() -> None:
    assert limit([1] * 9, SamplingParams(max_tokens=None)) == 1


def test_a_prompt_as_long_as_the_context_is_refused_with_both_counts() -> None:
    with pytest.raises(ContextLengthError, match=r"10 tokens.* 10 tokens") as refused:
        limit([1] * 10, SamplingParams(max_tokens=None))
    error = refused.value
    assert (error.num_prompt_tokens, error.max_model_len, error.max_tokens) == (10, 10, None)


def test_prompt_and_max_tokens_must_fit_together() -> None:
    with pytest.raises(ContextLengthError, match=r"8 .*11") as refused:
        limit([1, 2, 3], SamplingParams(max_tokens=8))
    assert (refused.value.num_prompt_tokens, refused.value.max_tokens) == (3, 8)


@pytest.mark.parametrize("prompt", [[], [100], [-1], [5, 100]])
def test_invalid_prompts_are_refused(prompt: list[int]) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        limit(prompt, SamplingParams())
    assert caught.value.param == "prompt"


def test_a_logit_bias_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(InvalidParameterError) as caught:
        limit([1], SamplingParams(logit_bias={99: 1.0, 100: 1.0}, max_tokens=1))
    assert caught.value.param == "logit_bias"


def test_a_stop_token_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match="100, 2147483647") as caught:
        limit([1], SamplingParams(stop_token_ids=(99, 100, 2**31 - 1), max_tokens=1))
    assert caught.value.param == "stop_token_ids"


def test_all_invalid_token_ids_are_named() -> None:
    biases = dict.fromkeys(range(90, 110), 1.0)
    with pytest.raises(InvalidParameterError) as caught:
        limit([1], SamplingParams(logit_bias=biases, max_tokens=1))
    assert str(caught.value).endswith(", ".join(map(str, range(100, 110))))


def test_a_missing_seed_is_generated() -> None:
    assert choose_seed(SamplingParams(seed=7)) == 7
    drawn = {choose_seed(SamplingParams()) for _ in range(10)}
    assert len(drawn) == 10
    assert all(0 <= seed < 2**63 for seed in drawn)


def continued(num_prior: int, token_id: int = 5, **params: int) -> int:
    prior = [token_id] * num_prior
    return check_request(
        [1, 2, 3],
        SamplingParams(**params),  # type: ignore[arg-type]
        vocab_size=100,
        max_model_len=10,
        prior_output_token_ids=prior,
    )


def test_existing_output_counts_as_output() -> None:
    assert continued(4, max_tokens=5) == 5


@pytest.mark.parametrize(
    ("num_prior", "token_id", "params", "param"),
    [
        (5, 5, {"max_tokens": 5}, "prior_output_token_ids"),
        (2, 100, {"max_tokens": 5}, "prior_output_token_ids"),
        (2, 5, {"max_tokens": 5, "n": 2}, "n"),
    ],
)
def test_outputs_that_cannot_be_continued(
    num_prior: int, token_id: int, params: dict[str, int], param: str
) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        continued(num_prior, token_id, **params)
    assert caught.value.param == param
