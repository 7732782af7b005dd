"""Every backend's products with experts compute the formula, for all sizes."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from headrace.core.errors import UnsupportedModelError
from headrace.models.config import Activation
from headrace.models.ops.base import ExpertMatrices, Ops, Routing, Weight
from headrace.models.ops.cpu_ops import CpuOps
from headrace.models.ops.torch_experts import TorchExperts, add_without_waiting
from headrace.models.ops.torch_ops import TorchOps
from headrace.models.simd.thread_pool import ThreadPool


class WithoutWaiting(TorchOps):
    """What a CUDA graph captures."""

    def add_experts(self, x: Tensor, routing: Routing, experts: Weight, residual: Tensor) -> None:
        assert isinstance(experts, TorchExperts)
        add_without_waiting(x, routing, experts, residual)


CPU = torch.device("cpu")
POOL = ThreadPool(2)
BACKENDS: dict[str, Callable[[], Ops]] = {
    "torch float32": lambda: TorchOps(torch.float32, CPU),
    "torch bfloat16": lambda: TorchOps(torch.bfloat16, CPU),
    "captured float32": lambda: WithoutWaiting(torch.float32, CPU),
    "captured bfloat16": lambda: WithoutWaiting(torch.bfloat16, CPU),
    "kernels float32": lambda: CpuOps(torch.float32, POOL),
    "kernels bfloat16": lambda: CpuOps(torch.bfloat16, POOL),
}
ACTIVATIONS: list[Activation] = ["silu", "gelu_tanh", "clamped_swiglu"]


def random(dtype: torch.dtype, *shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype).float()


def make_experts(
    ops: Ops, num_experts: int, hidden: int, inner: int, bias: bool
) -> list[ExpertMatrices]:
    """With values that the backend's type represents exactly."""
    kind = ops.dtype
    return [
        ExpertMatrices(
            random(kind, inner, hidden, seed=5 * i),
            random(kind, inner, hidden, seed=5 * i + 1),
            random(kind, hidden, inner, seed=5 * i + 2),
            random(kind, 2 * inner, seed=5 * i + 3) if bias else None,
            random(kind, hidden, seed=5 * i + 4) if bias else None,
        )
        for i in range(num_experts)
    ]


def random_routing(num_rows: int, num_experts: int, k: int) -> Routing:
    scores = random(torch.float32, num_rows, num_experts, seed=99)
    experts = scores.topk(k).indices.sort().values
    return Routing(experts, scores.softmax(-1).gather(1, experts))


def gate_of(activation: Activation, gate: Tensor, up: Tensor) -> Tensor:
    match activation:
        case "silu":
            return functional.silu(gate) * up
        case "gelu_tanh":
            return functional.gelu(gate, approximate="tanh") * up
        case _:
            gate, up = gate.clamp(max=7), up.clamp(-7, 7)
            return gate / (1 + torch.exp(-1.702 * gate)) * (up + 1)


def by_formula(
    x: Tensor, routing: Routing, experts: Sequence[ExpertMatrices], activation: Activation
) -> Tensor:
    """[T, H] float64, a token at a time."""
    total = x.new_zeros(x.shape).double()
    for row, (chosen, weights) in enumerate(zip(routing.experts, routing.weights, strict=True)):
        for expert, weight in zip(chosen.tolist(), weights.double(), strict=True):
            gate, up, down, both, last = (
                0.0 if part is None else part.double() for part in experts[expert]
            )
            rows = torch.cat([gate, up]) @ x[row].double() + both
            total[row] += weight * (down @ gate_of(activation, *rows.chunk(2)) + last)
    return total


@settings(max_examples=40, deadline=None)
@given(
    num_rows=st.integers(0, 40),
    num_experts=st.integers(1, 9),
    k=st.integers(1, 4),
    hidden=st.sampled_from([2, 30, 64, 70]),
    inner=st.sampled_from([2, 16, 34, 48]),
    bias=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
    backend=st.sampled_from(sorted(BACKENDS)),
)
def test_add_experts(
    num_rows: int,
    num_experts: int,
    k: int,
    hidden: int,
    inner: int,
    bias: bool,
    activation: Activation,
    backend: str,
) -> None:
    ops = BACKENDS[backend]()
    experts = make_experts(ops, num_experts, hidden, inner, bias)
    routing = random_routing(num_rows, num_experts, min(k, num_experts))
    x = random(ops.dtype, num_rows, hidden, seed=77)
    residual = ops.embed(torch.zeros(num_rows, dtype=torch.int64), table(ops, hidden))
    packed = ops.pack_experts(iter(experts), num_experts, activation)
    ops.add_experts(x.to(ops.dtype), routing, packed, residual)
    want = by_formula(x, routing, experts, activation) + 1.0
    got = residual[:, :hidden].double()
    assert got.shape == want.shape
    if num_rows > 0:
        bound = 1e-5 if ops.dtype == torch.float32 else 0.03
        assert (got - want).abs().max() <= bound * (want.abs().max() + 1.0)


def table(ops: Ops, hidden: int) -> Weight:
    return ops.pack_embedding(torch.ones(1, hidden), None)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("num_rows", [1, 5])
def test_experts_that_no_row_chooses_do_not_matter(backend: str, num_rows: int) -> None:
    """Not even where they give no number."""
    ops = BACKENDS[backend]()
    experts = make_experts(ops, 7, 32, 16, bias=True)
    for index in (0, 2, 6):
        for part in experts[index]:
            assert part is not None
            part.fill_(torch.nan)
    routing = Routing(torch.tensor([[1, 4]]).expand(num_rows, 2), torch.full((num_rows, 2), 0.5))
    x = random(ops.dtype, num_rows, 32, seed=77)
    residual = ops.embed(torch.zeros(num_rows, dtype=torch.int64), table(ops, 32))
    ops.add_experts(x.to(ops.dtype), routing, ops.pack_experts(experts, 7, "silu"), residual)
    assert residual.isfinite().all()


def test_kernels_refuse_tensors_of_other_sizes() -> None:
    ops = CpuOps(torch.float32)
    packed = ops.pack_experts(make_experts(ops, 3, 64, 16, bias=False), 3, "silu")
    routing = random_routing(4, 3, 2)
    for x, residual in [
        (torch.ones(4, 62), torch.ones(4, 64)),
        (torch.ones(4, 64, dtype=torch.bfloat16), torch.ones(4, 64)),
        (torch.ones(4, 64), torch.ones(4, 96)),
        (torch.ones(4, 64), torch.ones(3, 64)),
        (torch.ones(5, 64), torch.ones(5, 64)),
    ]:
        with pytest.raises(ValueError, match=r"rows|must be"):
            ops.add_experts(x, routing, packed, residual)
        assert (residual == 1).all()
    beyond = Routing(torch.tensor([[0, 3]]), torch.ones(1, 2))
    with pytest.raises(ValueError, match="3 experts"):
        ops.add_experts(torch.ones(1, 64), beyond, packed, torch.ones(1, 64))


def test_an_activation_without_a_kernel_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match="'gelu'"):
        CpuOps(torch.float32).pack_experts([], 0, "gelu")


def test_memory_counts_every_expert() -> None:
    for backend in ("torch float32", "kernels float32"):
        ops = BACKENDS[backend]()
        packed = ops.pack_experts(make_experts(ops, 5, 64, 32, bias=False), 5, "silu")
        assert packed.num_bytes == 5 * 3 * 64 * 32 * 4
