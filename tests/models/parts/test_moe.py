"""The router of a mixture of experts, and the whole of it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from headrace.models.ops.base import ExpertMatrices
from headrace.models.ops.cpu_ops import CpuOps
from headrace.models.parts.moe import MoeMlp, SharedExpert, route


@settings(max_examples=100, deadline=None)
@given(data=st.data(), num_experts=st.integers(1, 12), normalized=st.booleans())
def test_routing_is_softmax_then_top_k(
    data: st.DataObject, num_experts: int, normalized: bool
) -> None:
    k = data.draw(st.integers(1, num_experts))
    row = st.lists(st.integers(-300, 300), min_size=num_experts, max_size=num_experts, unique=True)
    rows = data.draw(st.lists(row, max_size=4))
    scores = torch.tensor(rows, dtype=torch.float32).view(len(rows), num_experts) / 20
    routing = route(scores, k, normalized)
    assert routing.experts.shape == routing.weights.shape == (len(rows), k)
    assert routing.weights.dtype == torch.float32
    for values, experts, weights in zip(
        scores.tolist(), routing.experts.tolist(), routing.weights.tolist(), strict=True
    ):
        powers = [math.exp(value) for value in values]
        shares = [power / sum(powers) for power in powers]
        highest = sorted(range(num_experts), key=lambda i: -values[i])[:k]
        total = sum(shares[i] for i in highest) if normalized else 1.0
        assert experts == sorted(highest)
        assert weights == pytest.approx([shares[i] / total for i in experts], rel=1e-4, abs=1e-9)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 4


def moe_mlp(dtype: torch.dtype) -> MoeMlp:
    """Ten experts, of which a token goes through three, and a shared one."""
    ops, hidden, inner = CpuOps(dtype), 64, 40
    experts = (
        ExpertMatrices(
            random(inner, hidden, seed=4 * i),
            random(inner, hidden, seed=4 * i + 1),
            random(hidden, inner, seed=4 * i + 2),
        )
        for i in range(10)
    )
    gate, up = random(48, hidden, seed=91), random(48, hidden, seed=92)
    return MoeMlp(
        ops=ops,
        router=ops.pack(random(10, hidden, seed=90)),
        experts=ops.pack_experts(experts, 10, "silu"),
        experts_per_token=3,
        normalized=False,
        shared=SharedExpert(
            ops,
            ops.pack_activated(random(1, hidden, seed=93), "sigmoid"),
            ops.pack_gated(gate, up, "silu"),
            ops.pack(random(hidden, 48, seed=94)),
        ),
        scale=0.7,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("num_rows", [2, 3, 17, 40, 133])
def test_a_row_does_not_depend_on_the_batch(num_rows: int, dtype: torch.dtype) -> None:
    """Bit for bit: whichever experts the other rows choose."""
    mlp = moe_mlp(dtype)
    x = (4 * random(num_rows, 64, seed=7)).to(dtype)
    residual = random(num_rows, 64, seed=8)
    whole = residual.clone()
    mlp.add(x, whole)
    for row in range(num_rows):
        alone = residual[row : row + 1].clone()
        mlp.add(x[row : row + 1], alone)
        assert torch.equal(alone[0], whole[row])


def test_a_row_that_is_not_a_number_leaves_the_others_alone() -> None:
    mlp = moe_mlp(torch.float32)
    x, expected = random(3, 64, seed=7), torch.zeros(3, 64)
    mlp.add(x, expected)
    x[1] = math.nan
    residual = torch.zeros(3, 64)
    mlp.add(x, residual)
    assert residual[1].isnan().all()
    assert torch.equal(residual[[0, 2]], expected[[0, 2]])
