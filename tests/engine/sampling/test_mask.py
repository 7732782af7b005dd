"""Masks of grammars on a batch of logits."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.generation.grammar import Grammar
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.grammar.token_masks import TokenMasks
from headrace.engine.request_state import RequestState
from headrace.engine.sampling.mask import apply_masks
from headrace.engine.sampling.sampler import Sampler

VOCAB_SIZE = 75


def make_masks(allowed: dict[str, set[int]]) -> TokenMasks:
    bits = np.zeros((len(allowed), -(-VOCAB_SIZE // 32) * 32), dtype=bool)
    for row, tokens in enumerate(allowed.values()):
        bits[row, sorted(tokens)] = True
    packed = np.packbits(bits, axis=1, bitorder="little").view(np.int32)
    return TokenMasks(list(allowed), packed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("layout", ["whole", "padded", "transposed"])
@given(
    masks=st.dictionaries(
        st.sampled_from("abcdef"), st.sets(st.integers(0, VOCAB_SIZE - 1)), max_size=6
    ),
    rows=st.permutations("abcdef").flatmap(lambda ids: st.integers(0, 6).map(lambda n: ids[:n])),
)
def test_only_allowed_tokens_keep_their_logits(
    dtype: torch.dtype, layout: str, masks: dict[str, set[int]], rows: list[str]
) -> None:
    before = torch.randn(len(rows), VOCAB_SIZE).to(dtype)
    around = torch.full((len(rows), VOCAB_SIZE + 21), 5.0, dtype=dtype)
    after = {
        "whole": before.clone(),
        "padded": around[:, :VOCAB_SIZE].copy_(before),
        "transposed": before.t().clone().t(),
    }[layout]
    made = make_masks(masks)
    apply_masks(after, rows, made)
    for row, request_id in enumerate(rows):
        allowed = masks.get(request_id, set(range(VOCAB_SIZE)))
        for token_id in range(VOCAB_SIZE):
            kept = token_id in allowed
            assert after[row, token_id] == (before[row, token_id] if kept else -torch.inf)
            if request_id in masks:
                assert made.allows(list(masks).index(request_id), token_id) == kept
    assert (around[:, VOCAB_SIZE:] == 5.0).all()


def request(request_id: str, **params: object) -> RequestState:
    return RequestState(request_id, SamplingParams(**params), [1, 2], 2)  # type: ignore[arg-type]


def test_log_probabilities_are_those_of_the_model() -> None:
    logits = torch.randn(2, VOCAB_SIZE)
    expected = torch.log_softmax(logits, -1)
    rows = [request("free", temperature=0, logprobs=1), request("a", temperature=0, logprobs=2)]
    output = Sampler(VOCAB_SIZE, "cpu").sample(logits, rows, make_masks({"a": {7}}))
    assert output.token_ids == [int(expected[0].argmax()), 7]
    entry = output.logprobs[1]
    assert entry is not None
    assert entry.logprob == pytest.approx(float(expected[1, 7]), abs=1e-5)
    assert [token for token, _ in entry.top] == expected[1].topk(2).indices.tolist()


@pytest.mark.parametrize("more", [{"temperature": 0}, {"top_k": 5}, {"top_p": 0.1}, {"min_p": 0.9}])
def test_what_is_not_allowed_is_never_drawn(more: dict[str, float]) -> None:
    allowed = {3, 40, 74}
    biased = {"logit_bias": {9: 100.0}, "frequency_penalty": -2.0, **more}
    sampler = Sampler(VOCAB_SIZE, "cpu")
    for seed in range(30):
        row = request("a", **biased)
        row.seed = seed
        logits = torch.randn(1, VOCAB_SIZE, generator=torch.Generator().manual_seed(seed))
        output = sampler.sample(logits, [row], make_masks({"a": allowed}))
        assert not output.failures
        assert set(output.token_ids) <= allowed
        sampler.release(["a"])


def test_a_row_whose_allowed_tokens_are_impossible_fails_alone() -> None:
    logits = torch.randn(2, VOCAB_SIZE)
    logits[1, 7] = -torch.inf
    rows = [request("free"), request("a", grammar=Grammar.regex("a"))]
    output = Sampler(VOCAB_SIZE, "cpu").sample(logits, rows, make_masks({"a": {7}}))
    assert output.failures.keys() == {"a"}
    assert output.failures["a"].is_invalid_request
