"""The sampler against a reference in float64 that computes row by row."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.generation.sampling_params import (
    MAX_REPETITION_PENALTY,
    MAX_TEMPERATURE,
    MIN_REPETITION_PENALTY,
    SamplingParams,
)
from headrace.engine.request_state import RequestState
from headrace.engine.sampling.sampler import Sampler

VOCAB_SIZE = 300
EOS = 2


def make_request(
    output: list[int] | None = None,
    prompt: list[int] | None = None,
    request_id: str = "r",
    seed: int = 0,
    choice: int = 0,
    **params: Any,
) -> RequestState:
    prompt = [5, 6, 7] if prompt is None else prompt
    return RequestState(
        request_id=request_id,
        params=SamplingParams(**params),
        token_ids=[*prompt, *(output or [])],
        num_prompt_tokens=len(prompt),
        seed=seed,
        choice=choice,
        eos_token_ids=frozenset({EOS}),
    )


def make_logits(num_rows: int, vocab_size: int = VOCAB_SIZE, seed: int = 0) -> torch.Tensor:
    return torch.randn(num_rows, vocab_size, generator=torch.Generator().manual_seed(seed)) * 2


def reference_probabilities(logits: torch.Tensor, request: RequestState) -> np.ndarray[Any, Any]:
    """The expected probability of each token; for greedy rows, 1 for one token."""
    params = request.params
    scores = logits.double().numpy().copy()
    output = request.token_ids[request.num_prompt_tokens :]
    if len(output) < params.min_tokens:
        banned = set(params.stop_token_ids)
        if not params.ignore_eos:
            banned |= request.eos_token_ids
        scores[list(banned)] = -math.inf
    for token_id, bias in params.logit_bias.items():
        scores[token_id] += bias
    for token_id in set(request.token_ids):
        factor = params.repetition_penalty
        scores[token_id] *= 1 / factor if scores[token_id] > 0 else factor
    for token_id in set(output):
        scores[token_id] -= params.frequency_penalty * output.count(token_id)
        scores[token_id] -= params.presence_penalty
    if params.is_greedy:
        return np.eye(len(scores))[scores.argmax()]
    scores /= params.temperature
    probabilities = np.exp(scores - scores.max())
    probabilities[probabilities < params.min_p] = 0
    order = np.argsort(-probabilities, kind="stable")
    if params.top_k > 0:
        probabilities[order[params.top_k :]] = 0
    probabilities /= probabilities.sum()
    sorted_ = probabilities[order]
    probabilities[order[np.cumsum(sorted_) - sorted_ >= params.top_p]] = 0
    return probabilities / probabilities.sum()


PARAMS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.5},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 100},
    {"top_k": 5000},
    {"top_p": 0.5},
    {"top_p": 0.95, "temperature": 3.0},
    {"min_p": 0.2},
    {"top_k": 20, "top_p": 0.8, "min_p": 0.02, "temperature": 0.7},
    {"top_k": 90, "top_p": 0.9, "temperature": 4.0},
    {"presence_penalty": 2.0},
    {"frequency_penalty": 1.5},
    {"presence_penalty": -2.0},
    {"repetition_penalty": 1.8},
    {"repetition_penalty": 0.5, "top_k": 3},
    {"logit_bias": {11: 6.0, 5: -100.0}},
    {"min_tokens": 9, "stop_token_ids": (8, 9), "logit_bias": {EOS: 9.0, 8: 9.0, 30: 3.0}},
    {"min_tokens": 3, "logit_bias": {EOS: 3.0}},
    {"min_tokens": 9, "ignore_eos": True, "logit_bias": {EOS: 3.0}},
]
OUTPUT = [10, 11, 11, 11, 5]


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_token_frequencies_match_probabilities(params: dict[str, Any]) -> None:
    num = 4000
    rows = [make_request(OUTPUT, seed=seed, request_id=str(seed), **params) for seed in range(num)]
    logits = make_logits(1, seed=3)
    # Seen and biased tokens have logits high enough to be sampled.
    logits[0, [5, 6, 10, 11, EOS]] = torch.tensor([4.0, 3.0, -0.5, 5.0, 4.0])
    drawn = Sampler(VOCAB_SIZE, "cpu").sample(logits.repeat(num, 1), rows).token_ids
    expected = reference_probabilities(logits[0], rows[0]) * num
    counts = np.bincount(drawn, minlength=VOCAB_SIZE)
    assert counts[expected == 0].sum() == 0
    # Pearson's chi-square over the frequent tokens, the others pooled.
    often = expected >= 5
    cells = [*zip(counts[often], expected[often], strict=True)]
    rest = expected[~often].sum()
    if rest > 0:
        cells.append((counts[~often].sum(), rest))
    chi_square = sum((count - mean) ** 2 / mean for count, mean in cells if mean > 1)
    freedom = len(cells) - 1
    assert chi_square <= freedom + 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("params", PARAMS, ids=str)
def test_greedy_rows_take_the_best_token_after_penalties(params: dict[str, Any]) -> None:
    request = make_request(OUTPUT, **{**params, "temperature": 0.0})
    sampler = Sampler(VOCAB_SIZE, "cpu")
    for seed in range(20):
        logits = make_logits(1, seed=seed)
        expected = reference_probabilities(logits[0], request).argmax()
        assert sampler.sample(logits, [request]).token_ids == [expected]


ROW = st.builds(
    lambda index, seed, greedy, logprobs: (index, seed, greedy, logprobs),
    st.integers(0, len(PARAMS) - 1),
    st.integers(0, 2**62),
    st.booleans(),
    st.sampled_from([None, 0, 4]),
)


@settings(max_examples=40, deadline=None)
@given(
    specs=st.lists(ROW, min_size=1, max_size=12),
    vocab_size=st.sampled_from([VOCAB_SIZE, 4999]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    data=st.data(),
)
def test_sampling_does_not_depend_on_the_batch(
    specs: list[Any], vocab_size: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    def requests() -> list[RequestState]:
        made = []
        for place, (index, seed, greedy, logprobs) in enumerate(specs):
            params = {**PARAMS[index], **({"temperature": 0.0} if greedy else {})}
            request = make_request(
                OUTPUT, request_id=str(place), seed=seed, logprobs=logprobs, **params
            )
            made.append(request)
        return made

    logits = make_logits(len(specs), vocab_size).to(dtype)
    together = Sampler(vocab_size, "cpu").sample(logits.clone(), requests())
    order = data.draw(st.permutations(range(len(specs))))
    rows = requests()
    mixed = Sampler(vocab_size, "cpu").sample(logits[order].clone(), [rows[i] for i in order])
    for place, row in enumerate(order):
        alone = Sampler(vocab_size, "cpu").sample(logits[row : row + 1].clone(), [requests()[row]])
        assert together.token_ids[row] == mixed.token_ids[place] == alone.token_ids[0]
        assert together.logprobs[row] == mixed.logprobs[place] == alone.logprobs[0]


def test_a_continued_output_samples_with_the_same_numbers() -> None:
    logits = make_logits(1)
    started = make_request(output=[9, 8], prompt=[5, 6], seed=4)
    continued = make_request(output=[], prompt=[5, 6, 9, 8], seed=4)
    sampler = Sampler(VOCAB_SIZE, "cpu")
    assert sampler.sample(logits, [started]) == sampler.sample(logits, [continued])


def test_choices_and_positions_use_different_numbers() -> None:
    logits = torch.zeros(1, VOCAB_SIZE)
    sampler = Sampler(VOCAB_SIZE, "cpu")
    rows = [make_request(output=[9] * size, choice=c) for size in range(4) for c in range(4)]
    drawn = sampler.sample(logits.repeat(16, 1), rows).token_ids
    assert len(set(drawn)) > 10


def test_cached_plans_are_updated_as_requests_grow() -> None:
    """Plans, counts and bans are cached between steps, and must include the newest tokens."""
    params: dict[str, Any] = {"temperature": 0.0, "frequency_penalty": 1.0, "min_tokens": 3}
    request = make_request(request_id="a", repetition_penalty=1.2, **params)
    plain = make_request(request_id="b", temperature=0.0)
    sampler = Sampler(VOCAB_SIZE, "cpu")
    logits = make_logits(2, seed=8)
    logits[0, EOS] = 30.0
    for step in range(8):
        expected = [
            int(reference_probabilities(logits[row], each).argmax())
            for row, each in enumerate((request, plain))
        ]
        drawn = sampler.sample(logits.clone(), [request, plain]).token_ids
        assert drawn == expected
        assert (drawn[0] == EOS) == (step >= 3)
        request.token_ids.append(drawn[0])
        plain.token_ids.append(drawn[1])


def test_a_released_request_id_starts_with_new_counts() -> None:
    sampler = Sampler(VOCAB_SIZE, "cpu")
    logits = make_logits(1)
    first = make_request([10] * 9, temperature=0.0, frequency_penalty=2.0, logit_bias={10: 12.0})
    assert sampler.sample(logits.clone(), [first]).token_ids != [10]
    sampler.release(["r"])
    again = make_request([], temperature=0.0, frequency_penalty=2.0, logit_bias={10: 12.0})
    assert sampler.sample(logits.clone(), [again]).token_ids == [10]


def test_token_counts_grow_beyond_the_initial_capacity() -> None:
    prompt = list(range(VOCAB_SIZE - 1))
    request = make_request(prompt=prompt, temperature=0.0, repetition_penalty=100.0)
    logits = torch.full((1, VOCAB_SIZE), 5.0)
    assert Sampler(VOCAB_SIZE, "cpu").sample(logits, [request]).token_ids == [VOCAB_SIZE - 1]


def test_token_ids_beyond_the_vocabulary_are_ignored() -> None:
    request = make_request(
        prompt=[5, VOCAB_SIZE + 7],
        temperature=0.0,
        repetition_penalty=1.5,
        logit_bias={VOCAB_SIZE: 5.0, 12: 50.0},
        stop_token_ids=(VOCAB_SIZE + 1,),
        min_tokens=2,
    )
    assert Sampler(VOCAB_SIZE, "cpu").sample(make_logits(1), [request]).token_ids == [12]


def test_logprobs_are_computed_from_unmodified_logits() -> None:
    logits = make_logits(1)
    logits[0, EOS] = 20.0
    request = make_request(
        temperature=0.0, logprobs=2, min_tokens=5, logit_bias={40: 90.0}, presence_penalty=1.0
    )
    result = Sampler(VOCAB_SIZE, "cpu").sample(logits.clone(), [request])
    assert result.token_ids == [40]
    (entry,) = result.logprobs
    assert entry is not None
    expected = torch.log_softmax(logits[0].double(), dim=-1)
    assert entry.logprob == pytest.approx(expected[40].item(), abs=1e-5)
    assert entry.top[0][0] == EOS


def spoil(row: torch.Tensor, how: str) -> None:
    match how:
        case "all nan":
            row[:] = math.nan
        case "one nan":
            row[77] = math.nan
        case "one inf":
            row[77] = math.inf
        case "no logits":
            row[:] = -math.inf


DAMAGE = ["all nan", "one nan", "one inf", "no logits"]
KINDS = [{"temperature": 0.0}, {}, {"top_p": 0.5}, {"top_k": 200}, {"min_p": 0.5}]


@pytest.mark.parametrize("params", KINDS, ids=str)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_row_without_finite_logits_fails_alone(params: dict[str, Any], damage: str) -> None:
    rows = [make_request(OUTPUT, request_id=str(row), seed=row, logprobs=3) for row in range(2)]
    rows += [
        make_request(OUTPUT, request_id=str(row), seed=row, logprobs=3, **params)
        for row in range(2, 6)
    ]
    logits = make_logits(6)
    expected = Sampler(VOCAB_SIZE, "cpu").sample(logits.clone(), rows)
    spoil(logits[3], damage)
    spoil(logits[5], damage)
    result = Sampler(VOCAB_SIZE, "cpu").sample(logits, rows)
    assert result.failures.keys() == {"3", "5"}
    assert not any(failure.is_invalid_request for failure in result.failures.values())
    for row in (0, 1, 2, 4):
        assert result.token_ids[row] == expected.token_ids[row]
        assert result.logprobs[row] == expected.logprobs[row]


@pytest.mark.parametrize("params", KINDS, ids=str)
def test_a_row_with_all_tokens_banned_fails_alone(params: dict[str, Any]) -> None:
    vocab_size = 200
    banned = tuple(range(vocab_size))
    bad = make_request(
        request_id="bad", prompt=[5], min_tokens=9, stop_token_ids=banned, logprobs=3, **params
    )
    good = make_request(request_id="good", seed=4, **params)
    logits = make_logits(2, vocab_size)
    expected = Sampler(vocab_size, "cpu").sample(logits[1:].clone(), [good])
    result = Sampler(vocab_size, "cpu").sample(logits, [bad, good])
    assert result.failures["bad"].is_invalid_request
    assert result.failures["bad"].param == "min_tokens"
    assert result.failures.keys() == {"bad"}
    assert result.token_ids[1] == expected.token_ids[0]


class UnreadableParams:
    """Parameters that raise when read, as a bug would."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


def test_a_row_that_raises_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    """In the plan, the penalties, the sampling or the logprobs."""
    rows = [
        make_request(OUTPUT, request_id=str(place), seed=place, logprobs=2, **params)
        for place, params in enumerate(PARAMS)
    ]
    logits = make_logits(len(rows) + 1)
    sampler = Sampler(VOCAB_SIZE, "cpu")
    expected = sampler.sample(logits[:-1].clone(), rows)
    bad = make_request(request_id="bad")
    bad.params = UnreadableParams()  # type: ignore[assignment]
    result = sampler.sample(logits.clone(), [*rows, bad])
    assert result.failures.keys() == {"bad"}
    assert "ZeroDivisionError" in caplog.text
    assert "ZeroDivisionError" not in result.failures["bad"].message
    assert result.token_ids[:-1] == expected.token_ids
    assert result.logprobs[:-1] == expected.logprobs
    # It is left with nothing that a later step would stumble over.
    sampler.release(["bad"])
    assert sampler.sample(logits[:-1].clone(), rows) == expected


def test_a_failed_batch_is_sampled_row_by_row_from_unmodified_logits() -> None:
    """Rows are sampled again one by one, from the model's logits."""
    good = make_request(request_id="good", min_tokens=9, logprobs=5, temperature=0.0)
    bad = make_request(request_id="bad", frequency_penalty=1.0)
    bad.token_ids = None  # type: ignore[assignment]
    logits = make_logits(2)
    logits[0, EOS] = 30.0
    expected = Sampler(VOCAB_SIZE, "cpu").sample(logits[:1].clone(), [good])
    result = Sampler(VOCAB_SIZE, "cpu").sample(logits, [good, bad])
    assert result.failures.keys() == {"bad"}
    assert result.token_ids[0] == expected.token_ids[0] != EOS
    assert result.logprobs[0] == expected.logprobs[0]


NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.floats(0, MAX_TEMPERATURE),
    "top_p": st.floats(0, 1, exclude_min=True),
    "top_k": st.integers(-1, 2**31 - 1),
    "min_p": st.floats(0, 1),
    "presence_penalty": st.floats(-2, 2),
    "frequency_penalty": st.floats(-2, 2),
    "repetition_penalty": st.floats(MIN_REPETITION_PENALTY, MAX_REPETITION_PENALTY),
    "logit_bias": st.dictionaries(st.integers(0, VOCAB_SIZE - 1), st.floats(-100, 100)),
    "min_tokens": st.sampled_from([0, 9]),
    "stop_token_ids": st.lists(st.integers(0, VOCAB_SIZE - 1)).map(tuple),
    "seed": st.integers(-(2**63), 2**63 - 1),
}


@settings(max_examples=300, deadline=None)
@given(
    params=st.fixed_dictionaries({}, optional=NUMBERS),
    scale=st.sampled_from([0.0, 1e-30, 2.0, 1e4]),
)
def test_every_combination_of_valid_parameters_samples_a_token(
    params: dict[str, Any], scale: float
) -> None:
    """Ranges prevent overflow, for any finite logits."""
    logits = make_logits(2) * scale
    rows = [make_request(OUTPUT, max_tokens=100, **params), make_request(request_id="plain")]
    result = Sampler(VOCAB_SIZE, "cpu").sample(logits, rows)
    assert result.failures == {}
    assert all(0 <= token_id < VOCAB_SIZE for token_id in result.token_ids)


@pytest.mark.parametrize("params", [{"temperature": 1e-30}, {"top_p": 1e-9}, {"top_k": 1}])
def test_parameters_that_leave_one_token_are_greedy(params: dict[str, Any]) -> None:
    logits = make_logits(8)
    rows = [make_request(seed=seed, **params) for seed in range(8)]
    drawn = Sampler(VOCAB_SIZE, "cpu").sample(logits.clone(), rows).token_ids
    assert drawn == logits.argmax(-1).tolist()


def test_an_empty_batch_samples_nothing() -> None:
    assert Sampler(VOCAB_SIZE, "cpu").sample(torch.empty(0, VOCAB_SIZE), []).token_ids == []


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("more", [{}, {"top_k": 5}, {"repetition_penalty": 1.3}], ids=str)
def test_only_allowed_tokens_are_drawn(temperature: float, more: dict[str, Any]) -> None:
    allowed = (3, 8, 250)
    logits = make_logits(2)
    limited = make_request(
        request_id="a", temperature=temperature, allowed_token_ids=allowed, logprobs=2, **more
    )
    free = make_request(request_id="b", temperature=temperature, logprobs=2, **more)
    alone = Sampler(VOCAB_SIZE, "cpu").sample(logits[1:].clone(), [free])
    for seed in range(20):
        limited.seed = seed
        drawn = Sampler(VOCAB_SIZE, "cpu").sample(logits.clone(), [limited, free])
        assert drawn.token_ids[0] in allowed
        assert drawn.token_ids[1:] == alone.token_ids
        assert drawn.logprobs[1:] == alone.logprobs
    if temperature == 0.0 and not more:
        assert drawn.token_ids[0] == max(allowed, key=lambda each: logits[0, each].item())


def test_the_end_of_a_bad_word_is_banned_after_its_beginning() -> None:
    logits = torch.zeros(1, VOCAB_SIZE)
    logits[0, 9], logits[0, 4] = 5.0, 4.0
    words = ((7, 8, 9), (250,))
    for output, expected in (([], 9), ([8], 9), ([7], 9), ([7, 8], 4), ([1, 7, 8], 4)):
        request = make_request(output, temperature=0.0, bad_words_token_ids=words)
        assert Sampler(VOCAB_SIZE, "cpu").sample(logits.clone(), [request]).token_ids == [expected]


def test_a_request_without_any_allowed_token_fails_alone() -> None:
    banned = make_request(request_id="a", allowed_token_ids=(EOS,), min_tokens=3, temperature=0.0)
    drawn = Sampler(VOCAB_SIZE, "cpu").sample(
        make_logits(2), [banned, make_request(request_id="b")]
    )
    assert list(drawn.failures) == ["a"]
    assert drawn.failures["a"].param == "allowed_token_ids"


def test_logprobs_of_chosen_tokens() -> None:
    logits = make_logits(2)
    rows = [
        make_request(request_id="a", logprobs=2, logprob_token_ids=(9, 3)),
        make_request(request_id="b", logprobs=2),
    ]
    chosen, best = Sampler(VOCAB_SIZE, "cpu").sample(logits.clone(), rows).logprobs
    assert chosen is not None
    assert best is not None
    expected = logits[0].log_softmax(-1)
    assert dict(chosen.top) == pytest.approx({each: expected[each].item() for each in (9, 3)})
    assert len(best.top) == 2
