"""The kernels of experts check sizes before they write."""

from functools import cache
from typing import Any

import pytest
import torch

from headrace.models.simd.experts.grouped_products import Groups, add_groups, gate_groups
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import FP32

UNTOUCHED = 7.0


@cache
def pool() -> ThreadPool:
    return ThreadPool(2)


class Call:
    """Two experts of 4 x 64, of which the second has nine rows, and memory for more than is
    written."""

    def __init__(self, *, num_rows: int = 9, **changes: int) -> None:
        self.out = torch.full((4096,), UNTOUCHED)
        self.ones = torch.ones(4096)
        self.experts = torch.ones(1, dtype=torch.int32)
        self.starts = torch.tensor([0, num_rows], dtype=torch.int32)
        self.tokens = torch.arange(9, dtype=torch.int32)
        self.groups = Groups(self.experts.data_ptr(), self.starts.data_ptr(), 1, num_rows)
        self.sizes: dict[str, Any] = {"num_k": 4, "num_blocks": 2, "x_stride": 16, **changes}

    def gate(self, out_stride: int = 128) -> None:
        ones = self.ones.data_ptr()
        gate_groups(
            pool(), FP32, groups=self.groups, x=ones, w=ones, bias=0, activation=0,
            out=self.out.data_ptr(), out_stride=out_stride, **self.sizes,
        )  # fmt: skip

    def add(self, out_stride: int = 256) -> None:
        ones = self.ones.data_ptr()
        add_groups(
            pool(), FP32, groups=self.groups, x=ones, w=ones, bias=0, scales=ones,
            tokens=self.tokens.data_ptr(), out=self.out.data_ptr(), out_stride=out_stride,
            **self.sizes,
        )  # fmt: skip


def test_sizes_that_fit_are_written_and_no_more() -> None:
    call = Call()
    call.gate()
    assert (call.out[: 9 * 32] != UNTOUCHED).all()
    assert (call.out[9 * 32 :] == UNTOUCHED).all()
    call = Call()
    call.add()
    assert (call.out[: 9 * 64] == UNTOUCHED + 4).all()
    assert (call.out[9 * 64 :] == UNTOUCHED).all()


@pytest.mark.parametrize(
    "changes", [{"num_rows": -1}, {"num_k": -1}, {"num_blocks": -1}, {"x_stride": 15}], ids=str
)
def test_mismatched_sizes_are_refused(changes: dict[str, int]) -> None:
    call = Call(**changes)
    for compute in (call.gate, call.add):
        with pytest.raises(ValueError, match=r"negative size|overlap"):
            compute()
    assert (call.out == UNTOUCHED).all()


def test_rows_of_the_output_that_overlap_are_refused() -> None:
    call = Call()
    with pytest.raises(ValueError, match="overlap"):
        call.gate(out_stride=127)
    with pytest.raises(ValueError, match="overlap"):
        call.add(out_stride=255)
    assert (call.out == UNTOUCHED).all()
