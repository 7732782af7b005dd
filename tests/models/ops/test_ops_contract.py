"""Every backend of models.ops.base.Ops computes the formulas, for all sizes."""

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
    """Values that the backend's type represents exactly, so that only its sums are compared."""
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


@pytest.mark.parametrize(
    "activation", ["silu", "gelu", "gelu_tanh", "relu", "relu2", "quick_gelu", "sigmoid"]
)
@pytest.mark.parametrize("bias", [False, True])
def test_activated_linear(ops: Ops, bias: bool, activation: Activation) -> None:
    functions = {
        "silu": functional.silu,
        "gelu": functional.gelu,
        "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
        "relu": functional.relu,
        "relu2": lambda x: functional.relu(x) ** 2,
        "quick_gelu": lambda x: x / (1 + torch.exp(-1.702 * x)),
        "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    }
    x, matrix = random(ops, 9, 32), random(ops, 50, 32, seed=1)
    offset = random(ops, 50, seed=3) if bias else None
    got = ops.activated_linear(x.to(ops.dtype), ops.pack_activated(matrix, activation, offset))
    both = functional.linear(x.double(), matrix.double(), offset.double() if bias else None)
    assert got.dtype == ops.dtype
    assert_close(ops, got, functions[activation](both))


@settings(max_examples=25, deadline=None)
@given(
    num_rows=st.integers(0, 20),
    hidden=st.integers(1, 100),
    bias=st.booleans(),
    mean=st.sampled_from([0.0, 30.0]),
    backend=st.sampled_from(sorted(BACKENDS)),
)
def test_layer_norm(num_rows: int, hidden: int, bias: bool, mean: float, backend: str) -> None:
    """Far from zero too, where the difference of two sums of squares would be noise."""
    ops = BACKENDS[backend]()
    rows = (random(ops, num_rows, hidden) + mean).to(ops.dtype).float()
    weight, offset = random(ops, hidden, seed=1), random(ops, hidden, seed=2) if bias else None
    got = ops.layer_norm(functional.pad(rows, (0, 7))[:, :hidden], weight, offset, 1e-5)
    want = functional.layer_norm(
        rows.double(),
        (hidden,),
        weight.double(),
        None if offset is None else offset.double(),
        1e-5,
    )
    assert got.dtype == ops.dtype
    if num_rows:
        assert_close(ops, got, want)


@pytest.mark.parametrize("hidden", [64, 50])
def test_embedding_is_tied_or_a_table(ops: Ops, hidden: int) -> None:
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


def test_no_rows_give_no_rows(ops: Ops) -> None:
    """As in a step that samples no token."""
    x = torch.empty(0, 32, dtype=ops.dtype)
    plain = ops.pack(random(ops, 50, 32))
    gated = ops.pack_gated(random(ops, 50, 32), random(ops, 50, 32, seed=1), "silu")
    assert ops.linear(x, plain).shape == (0, 50)
    assert ops.gated_linear(x, gated).shape == (0, 50)
    activated = ops.pack_activated(random(ops, 50, 32), "gelu_tanh")
    assert ops.activated_linear(x, activated).shape == (0, 50)
    residual = ops.embed(
        torch.empty(0, dtype=torch.int64), ops.pack_embedding(plain_table(ops), None)
    )
    ops.add_linear(x, ops.pack(random(ops, 32, 32)), residual)
    assert ops.norm(residual, torch.ones(32), 1e-5).shape == (0, 32)


def plain_table(ops: Ops) -> Tensor:
    return random(ops, 8, 32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_kernels_refuse_tensors_that_are_too_small(
    dtype: torch.dtype,
) -> None:
    ops = CpuOps(dtype)
    plain, bias = ops.pack(random(ops, 64, 32)), random(ops, 64)
    gated = ops.pack_gated(random(ops, 64, 32), random(ops, 64, 32, seed=1), "silu")
    activated = ops.pack_activated(random(ops, 64, 32), "relu", bias)
    unfused = ops.pack_gated(random(ops, 64, 32), random(ops, 64, 32, seed=1), "gelu")
    residual = torch.zeros(3, 64)
    other = torch.float32 if dtype == torch.bfloat16 else torch.bfloat16
    for x in (
        torch.ones(3, 30, dtype=dtype),
        torch.ones(3, 34, dtype=dtype),
        torch.ones(3, 32, dtype=other),
        torch.ones(32, 3, dtype=dtype).T,
    ):
        with pytest.raises(ValueError, match="x must be"):
            ops.linear(x, plain)
        with pytest.raises(ValueError, match="x must be"):
            ops.add_linear(x, ops.pack(random(ops, 64, 32), bias), residual)
        with pytest.raises(ValueError, match="x must be"):
            ops.activated_linear(x, activated)
        for weight in (gated, unfused):
            with pytest.raises(ValueError, match="x must be"):
                ops.gated_linear(x, weight)
    x = torch.ones(3, 32, dtype=dtype)
    for wrong in (
        torch.zeros(2, 64),
        torch.zeros(4, 64),
        torch.zeros(3, 63),
        torch.zeros(3, 96),
        torch.zeros(3, 64, dtype=torch.float64),
        torch.zeros(64, 3).T,
    ):
        with pytest.raises(ValueError, match="residual"):
            ops.add_linear(x, plain, wrong)
        assert (wrong == 0).all()
    with pytest.raises(ValueError, match="65 weights for rows of 64"):
        ops.norm(residual, torch.ones(65), 1e-5)
    for ids in (torch.zeros(3, dtype=torch.int32), torch.zeros(6, dtype=torch.int64)[::2]):
        with pytest.raises(ValueError, match="token ids must be"):
            ops.embed(ids, plain)
    assert (residual == 0).all()


@settings(max_examples=20, deadline=None)
@given(num_rows=st.integers(2, 40), row=st.integers(0, 39), dtype=st.sampled_from(["f", "b"]))
def test_a_row_does_not_depend_on_the_batch(num_rows: int, row: int, dtype: str) -> None:
    """Bit for bit: a request gets the same numbers in any batch."""
    ops = CpuOps(torch.float32 if dtype == "f" else torch.bfloat16)
    row %= num_rows
    x = random(ops, num_rows, 64).to(ops.dtype)
    plain = ops.pack(random(ops, 96, 64, seed=1))
    gated = ops.pack_gated(random(ops, 48, 64, seed=2), random(ops, 48, 64, seed=3), "silu")
    activated = ops.pack_activated(random(ops, 96, 64, seed=4), "gelu_tanh")
    alone = x[row : row + 1]
    assert torch.equal(
        ops.activated_linear(x, activated)[row], ops.activated_linear(alone, activated)[0]
    )
    assert torch.equal(ops.linear(x, plain)[row], ops.linear(alone, plain)[0])
    assert torch.equal(ops.gated_linear(x, gated)[row], ops.gated_linear(alone, gated)[0])
