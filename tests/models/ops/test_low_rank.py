"""Every backend adds the low-rank updates of adapters to the rows that have them alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from headrace.models.config import Activation
from headrace.models.ops.base import AdapterRows, LowRankPart, Ops
from headrace.models.ops.cpu_ops import CpuOps
from headrace.models.ops.torch_ops import TorchOps
from headrace.models.simd.thread_pool import ThreadPool

CPU = torch.device("cpu")
WIDTH = 34
BACKENDS: dict[str, Ops] = {
    "torch float32": TorchOps(torch.float32, CPU),
    "kernels float32": CpuOps(torch.float32, ThreadPool(2)),
    "kernels bfloat16": CpuOps(torch.bfloat16, ThreadPool(2)),
}
KERNELS = [name for name in BACKENDS if name.startswith("kernels")]


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(torch.bfloat16).float() / 4


@dataclass(frozen=True)
class Case:
    """A weight whose parts have these heights; by slot, the ranks of an adapter's parts, 0 for a
    part that it leaves alone; the slot of each row, None for none."""

    heights: list[int]
    ranks: list[list[int]]
    rows: list[int | None]

    def parts(self, slot: int) -> list[LowRankPart]:
        parts, first = [], 0
        for index, (height, rank) in enumerate(zip(self.heights, self.ranks[slot], strict=True)):
            if rank:
                seed = 10 * slot + index
                a, b = random(rank, WIDTH, seed=seed), random(height, rank, seed=seed + 5)
                parts.append(LowRankPart(first, a, b))
            first += height
        return parts

    def add_updates(self, x: Tensor, out: Tensor) -> Tensor:
        for row, slot in enumerate(self.rows):
            if slot is not None:
                for first, a, b in self.parts(slot):
                    out[row, first : first + len(b)] += b.double() @ (a.double() @ x[row].double())
        return out

    def adapter_rows(self) -> list[AdapterRows]:
        return [
            AdapterRows(slot, row, row + 1)
            for row, slot in enumerate(self.rows)
            if slot is not None
        ]


@st.composite
def cases(draw: st.DrawFn, heights: Sequence[int] | None = None) -> Case:
    if heights is None:
        heights = draw(st.lists(st.integers(1, 70), min_size=1, max_size=3))
    ranks = st.lists(st.integers(0, 40), min_size=len(heights), max_size=len(heights))
    adapters = draw(st.lists(ranks, min_size=1, max_size=3))
    slots = st.none() | st.integers(0, len(adapters) - 1)
    runs = draw(st.lists(st.tuples(slots, st.integers(1, 20)), min_size=1, max_size=5))
    rows = [slot for slot, length in runs for _ in range(length)]
    return Case(list(heights), adapters, rows)


def assert_close(ops: Ops, got: Tensor, want: Tensor) -> None:
    bound = 1e-4 if ops.dtype == torch.float32 else 0.03
    assert (got.double() - want).abs().max() <= bound * (want.abs().max() + 1)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25, deadline=None)
@given(case=cases())
def test_linear(backend: str, case: Case) -> None:
    ops = BACKENDS[backend]
    weight = ops.pack(random(sum(case.heights), WIDTH, seed=1))
    x = random(len(case.rows), WIDTH, seed=2)
    ops.begin_step([])
    plain = ops.linear(x.to(ops.dtype), weight).clone()
    for slot in range(len(case.ranks)):
        if case.parts(slot):
            ops.place_low_rank(weight, slot, ops.pack_low_rank(weight, case.parts(slot)))
    ops.begin_step(case.adapter_rows())
    got = ops.linear(x.to(ops.dtype), weight)
    assert_close(ops, got, case.add_updates(x, plain.double()))
    without = [row for row, slot in enumerate(case.rows) if slot is None]
    assert torch.equal(got[without], plain[without])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("activation", ["silu", "gelu"])
@settings(max_examples=15, deadline=None)
@given(case=st.integers(1, 50).flatmap(lambda size: cases((size, size))))
def test_gated_linear(backend: str, activation: Activation, case: Case) -> None:
    ops, size = BACKENDS[backend], case.heights[0]
    gate, up = random(size, WIDTH, seed=1), random(size, WIDTH, seed=2)
    weight = ops.pack_gated(gate, up, activation)
    x = random(len(case.rows), WIDTH, seed=3)
    ops.begin_step([])
    plain = ops.gated_linear(x.to(ops.dtype), weight).clone()
    for slot in range(len(case.ranks)):
        if case.parts(slot):
            ops.place_low_rank(weight, slot, ops.pack_low_rank(weight, case.parts(slot)))
    ops.begin_step(case.adapter_rows())
    got = ops.gated_linear(x.to(ops.dtype), weight)
    both = x.double() @ torch.cat([gate, up]).double().T
    gates, ups = case.add_updates(x, both).chunk(2, dim=1)
    assert_close(ops, got, getattr(functional, activation)(gates) * ups)
    without = [row for row, slot in enumerate(case.rows) if slot is None]
    assert torch.equal(got[without], plain[without])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("activation", ["silu", "relu"])
@pytest.mark.parametrize("bias", [False, True])
@settings(max_examples=10, deadline=None)
@given(case=st.integers(1, 50).flatmap(lambda size: cases((size,))))
def test_activated_linear(backend: str, activation: Activation, bias: bool, case: Case) -> None:
    ops, size = BACKENDS[backend], case.heights[0]
    matrix, offset = random(size, WIDTH, seed=1), random(size, seed=2)
    weight = ops.pack_activated(matrix, activation, offset if bias else None)
    x = random(len(case.rows), WIDTH, seed=3)
    ops.begin_step([])
    plain = ops.activated_linear(x.to(ops.dtype), weight).clone()
    for slot in range(len(case.ranks)):
        if case.parts(slot):
            ops.place_low_rank(weight, slot, ops.pack_low_rank(weight, case.parts(slot)))
    ops.begin_step(case.adapter_rows())
    got = ops.activated_linear(x.to(ops.dtype), weight)
    product = x.double() @ matrix.double().T + (offset.double() if bias else 0)
    assert_close(ops, got, getattr(functional, activation)(case.add_updates(x, product)))
    without = [row for row, slot in enumerate(case.rows) if slot is None]
    assert torch.equal(got[without], plain[without])


@pytest.mark.parametrize("backend", KERNELS)
def test_the_residual_stream(backend: str) -> None:
    ops = BACKENDS[backend]
    case = Case([50], [[7]], [None, 0, 0, None, 0])
    weight = ops.pack(random(50, WIDTH, seed=1))
    ops.place_low_rank(weight, 0, ops.pack_low_rank(weight, case.parts(0)))
    x = random(5, WIDTH, seed=2)
    residual = random(5, 64, seed=3)
    residual[:, 50:] = 0
    ops.begin_step([])
    want = residual[:, :50].double() + ops.linear(x.to(ops.dtype), weight).double()
    ops.begin_step(case.adapter_rows())
    ops.add_linear(x.to(ops.dtype), weight, residual)
    assert_close(ops, residual[:, :50], case.add_updates(x, want))
    assert not residual[:, 50:].any()
    ops.begin_step([])


@pytest.mark.parametrize("backend", KERNELS)
@settings(max_examples=15, deadline=None)
@given(case=cases())
def test_a_row_does_not_depend_on_the_rows_beside_it(backend: str, case: Case) -> None:
    ops = BACKENDS[backend]
    weight = ops.pack(random(sum(case.heights), WIDTH, seed=1))
    for slot in range(len(case.ranks)):
        if case.parts(slot):
            ops.place_low_rank(weight, slot, ops.pack_low_rank(weight, case.parts(slot)))
    x = random(len(case.rows), WIDTH, seed=2).to(ops.dtype)
    ops.begin_step(case.adapter_rows())
    together = ops.linear(x, weight).clone()
    for row, slot in enumerate(case.rows):
        ops.begin_step([] if slot is None else [AdapterRows(slot, 0, 1)])
        assert torch.equal(ops.linear(x[row : row + 1], weight)[0], together[row])


@pytest.mark.parametrize("backend", KERNELS)
def test_rows_beyond_the_step_are_an_error(backend: str) -> None:
    ops = BACKENDS[backend]
    case = Case([32], [[4]], [0] * 9)
    weight = ops.pack(random(32, WIDTH, seed=1))
    ops.place_low_rank(weight, 0, ops.pack_low_rank(weight, case.parts(0)))
    ops.begin_step([AdapterRows(0, 0, 9)])
    with pytest.raises(ValueError, match="rows up to 9"):
        ops.linear(random(8, WIDTH, seed=2).to(ops.dtype), weight)
    ops.begin_step([])
