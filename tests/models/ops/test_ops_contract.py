"""Every backend of models.ops.base.Ops gives what the formulas say, whatever the sizes."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from headrace.models.config import Activation
from headrace.models.ops.base import Ops
from headrace.models.ops.cpu_ops import CpuOps
from headrace.models.ops.torch_ops import TorchOps

CPU = torch.device("cpu")
BACKENDS: dict[str, Callable[[], Ops]] = {
    "torch float32": lambda: TorchOps(torch.float32, CPU),
    "torch bfloat16": lambda: TorchOps(torch.bfloat16, CPU),
    "kernels float32": lambda: CpuOps(torch.float32),
    "kernels bfloat16": lambda: CpuOps(torch.bfloat16),
}


@pytest.fixture(params=BACKENDS)
def ops(request: pytest.FixtureRequest) -> Ops:
    return BACKENDS[request.param]()


def random(ops: Ops, *shape: int, seed: int = 0) -> Tensor:
    """Values that the backend's type holds exactly, so that only its sums are compared."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator).to(ops.dtype).float()


def assert_close(ops: Ops, got: Tensor, want: Tensor) -> None:
    bound = 1e-4 if ops.dtype == torch.float32 else 0.03
    assert got.shape == want.shape
    scale = want.abs().max().item() + 1.0
    assert (got.double() - want.double()).abs().max().item() <= bound * scale


@settings(max_examples=25, deadline=None)
@given(
    num_rows=st.integers(1, 70),
    num_k=st.integers(1, 60).map(lambda n: 2 * n),
    num_columns=st.integers(1, 130),
    bias=st.booleans(),
    backend=st.sampled_from(sorted(BACKENDS)),
)
def test_linear(num_rows: int, num_k: int, num_columns: int, bias: bool, backend: str) -> None:
    ops = BACKENDS[backend]()
    x, matrix = random(ops, num_rows, num_k), random(ops, num_columns, num_k, seed=1)
    offset = random(ops, num_columns, seed=2) if bias else None
    got = ops.linear(x.to(ops.dtype), ops.pack(matrix, offset))
    want = functional.linear(x.double(), matrix.double(), offset.double() if bias else None)
    assert_close(ops, got, want)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("hidden", [64, 50])
def test_add_linear(ops: Ops, hidden: int, bias: bool) -> None:
    table = random(ops, 40, hidden)
    matrix = random(ops, hidden, 96, seed=1)
    offset = random(ops, hidden, seed=2) if bias else None
    x = random(ops, 5, 96, seed=3)
    residual = ops.embed(torch.arange(5), ops.pack_embedding(table, None))
    ops.add_linear(x.to(ops.dtype), ops.pack(matrix, offset), residual)
    want = table[:5].double() + functional.linear(
        x.double(), matrix.double(), offset.double() if bias else None
    )
    ones = torch.ones(hidden)
    got = ops.norm(residual, ones, 1e-6)
    assert_close(ops, got, functional.rms_norm(want, (hidden,), ones.double(), 1e-6))


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [48, 50])
def test_gated_linear(ops: Ops, size: int, bias: bool, activation: Activation) -> None:
    functions = {
        "silu": functional.silu,
        "gelu": functional.gelu,
        "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    }
    x = random(ops, 9, 32)
    gate, up = random(ops, size, 32, seed=1), random(ops, size, 32, seed=2)
    offset = random(ops, 2 * size, seed=3) if bias else None
    got = ops.gated_linear(x.to(ops.dtype), ops.pack_gated(gate, up, activation, offset))
    both = functional.linear(
        x.double(), torch.cat([gate, up]).double(), offset.double() if bias else None
    )
    want = functions[activation](both[:, :size]) * both[:, size:]
    assert got.dtype == ops.dtype
    assert_close(ops, got, want)


@pytest.mark.parametrize("hidden", [64, 50])
def test_embedding_is_the_output_layer_or_a_table(ops: Ops, hidden: int) -> None:
    table = random(ops, 77, hidden)
    ids = torch.tensor([76, 0, 33, 33, 31, 32])
    weight = torch.ones(hidden)
    want = functional.rms_norm(table[ids].double(), (hidden,), weight.double(), 1e-5)
    for output in (None, ops.pack(table)):
        residual = ops.embed(ids, ops.pack_embedding(table, output))
        assert_close(ops, ops.norm(residual, weight, 1e-5), want)


def test_tied_embedding_takes_no_more_memory(ops: Ops) -> None:
    table = random(ops, 64, 32)
    output = ops.pack(table)
    assert ops.pack_embedding(table, output) is output


@settings(max_examples=20, deadline=None)
@given(num_rows=st.integers(2, 40), row=st.integers(0, 39), dtype=st.sampled_from(["f", "b"]))
def test_a_row_does_not_depend_on_the_rows_beside_it(num_rows: int, row: int, dtype: str) -> None:
    """To the last bit: the same request gets the same numbers in any batch."""
    ops = CpuOps(torch.float32 if dtype == "f" else torch.bfloat16)
    row %= num_rows
    x = random(ops, num_rows, 64).to(ops.dtype)
    plain = ops.pack(random(ops, 96, 64, seed=1))
    gated = ops.pack_gated(random(ops, 48, 64, seed=2), random(ops, 48, 64, seed=3), "silu")
    alone = x[row : row + 1]
    assert torch.equal(ops.linear(x, plain)[row], ops.linear(alone, plain)[0])
    assert torch.equal(ops.gated_linear(x, gated)[row], ops.gated_linear(alone, gated)[0])
