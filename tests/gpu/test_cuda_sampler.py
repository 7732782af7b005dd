import math
from typing import Any

import pytest
import torch

from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.request_state import RequestState
from headrace.engine.sampling.sampler import Sampler

VOCAB_SIZE = 49_152
NUM_ROWS = 48

PARAMS: list[dict[str, Any]] = [
    {"temperature": 0.0},
    {},
    {"temperature": 0.6, "top_k": 20, "top_p": 0.95},
    {"top_p": 0.9, "temperature": 2.0},
    {"top_k": 3000},
    {"min_p": 0.1},
    {"temperature": 0.0, "repetition_penalty": 1.3, "logprobs": 5},
    {"min_tokens": 4, "logit_bias": {9: 5.0}},
]


def make_rows() -> list[RequestState]:
    return [
        RequestState(
            request_id=str(row),
            params=SamplingParams(**PARAMS[row % len(PARAMS)]),
            token_ids=[1, 2, 3],
            num_prompt_tokens=3,
            seed=row,
            eos_token_ids=frozenset({0}),
        )
        for row in range(NUM_ROWS)
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sampling_on_cuda_equals_cpu(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = (torch.randn(NUM_ROWS, VOCAB_SIZE, generator=generator) * 3).to(dtype)
    on_cpu = Sampler(VOCAB_SIZE, "cpu").sample(logits.clone(), make_rows())
    on_cuda = Sampler(VOCAB_SIZE, "cuda").sample(logits.cuda(), make_rows())
    # Exponentials and sums differ in their last bit, so a number at an edge may fall either way.
    pairs = zip(on_cpu.token_ids, on_cuda.token_ids, strict=True)
    assert sum(left != right for left, right in pairs) <= 1
    for left, right in zip(on_cpu.logprobs, on_cuda.logprobs, strict=True):
        assert (left is None) == (right is None)
        if left is not None and right is not None:
            assert left.logprob == pytest.approx(right.logprob, abs=1e-4)


@pytest.mark.parametrize("damage", [math.nan, math.inf, -math.inf])
def test_rows_without_logits_fail_alone(damage: float) -> None:
    rows = make_rows()
    logits = torch.randn(len(rows), VOCAB_SIZE, generator=torch.Generator().manual_seed(5))
    sampler = Sampler(VOCAB_SIZE, "cuda")
    expected = sampler.sample(logits.cuda(), rows)
    damaged = range(0, len(rows), 3)
    logits[damaged] = damage
    result = sampler.sample(logits.cuda(), rows)
    assert result.failures.keys() == {rows[row].request_id for row in damaged}
    for row in set(range(len(rows))) - set(damaged):
        assert result.token_ids[row] == expected.token_ids[row]
        assert result.logprobs[row] == expected.logprobs[row]
