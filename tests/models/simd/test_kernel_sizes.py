"""Kernels check sizes before they write."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from headrace.core.errors import KernelError
from headrace.models.simd.attention_step import PackedStep, Step
from headrace.models.simd.matmul import gated_linear, linear
from headrace.models.simd.norms import gather_packed, rms_norm
from headrace.models.simd.paged_attention import attend
from headrace.models.simd.rotary import rotate_and_store
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import FP32

UNTOUCHED = 7.0


@cache
def pool() -> ThreadPool:
    return ThreadPool(2)


@pytest.fixture
def out() -> Tensor:
    """Room for more than any of the calls writes."""
    return torch.full((4096,), UNTOUCHED)


@pytest.fixture
def ones() -> Tensor:
    return torch.ones(4096)


def call_linear(out: Tensor, ones: Tensor, **changes: int) -> None:
    sizes = {"num_k": 4, "num_blocks": 2, "num_rows": 9, "x_stride": 16, "out_stride": 256}
    x, w = ones.data_ptr(), ones.data_ptr()
    arguments: dict[str, Any] = {**sizes, **changes}
    linear(pool(), FP32, x=x, w=w, out=out.data_ptr(), accumulate=False, **arguments)


def call_gated(out: Tensor, ones: Tensor, **changes: int) -> None:
    sizes = {"num_k": 4, "num_blocks": 2, "num_rows": 9, "x_stride": 16, "out_stride": 128}
    x, w = ones.data_ptr(), ones.data_ptr()
    arguments: dict[str, Any] = {**sizes, **changes}
    gated_linear(pool(), FP32, x=x, w=w, out=out.data_ptr(), **arguments)


def call_norm(out: Tensor, ones: Tensor, **changes: int) -> None:
    sizes = {"size": 16, "num_rows": 9, "x_stride": 64, "out_stride": 64}
    x, weight = ones.data_ptr(), ones.data_ptr()
    arguments: dict[str, Any] = {**sizes, **changes}
    rms_norm(pool(), FP32, x=x, weight=weight, eps=0.0, out=out.data_ptr(), **arguments)


def call_gather(out: Tensor, ones: Tensor, **changes: int) -> None:
    sizes = {"num_k": 16, "num_columns": 64, "size": 16, "num_rows": 9, "out_stride": 64}
    ids = torch.arange(9)
    arguments: dict[str, Any] = {**sizes, **changes}
    gather_packed(
        pool(), FP32, token_ids=ids.data_ptr(), w=ones.data_ptr(), out=out.data_ptr(), **arguments
    )


CALLS = {"linear": call_linear, "gated": call_gated, "norm": call_norm, "gather": call_gather}
WRONG: dict[str, list[dict[str, int]]] = {
    "linear": [
        *({"num_rows": -1}, {"num_k": -1}, {"num_blocks": -1}, {"x_stride": 15}),
        *({"out_stride": 255}, {"x_stride": -16}, {"num_rows": 2, "out_stride": 0}),
    ],
    "gated": [
        *({"num_rows": -1}, {"num_k": -1}, {"num_blocks": -1}, {"x_stride": 15}),
        *({"out_stride": 127}, {"out_stride": -128}),
    ],
    "norm": [{"num_rows": -1}, {"size": -1}, {"x_stride": 63}, {"out_stride": 63}],
    "gather": [{"num_rows": -1}, {"size": -1}, {"out_stride": 63}, {"num_k": 15}, {"num_k": -1}],
}


@pytest.mark.parametrize(
    ("name", "changes"), [(name, wrong) for name in WRONG for wrong in WRONG[name]], ids=str
)
def test_mismatched_sizes_are_refused(
    name: str, changes: dict[str, int], out: Tensor, ones: Tensor
) -> None:
    with pytest.raises(ValueError, match=r"negative size|overlap|rows of"):
        CALLS[name](out, ones, **changes)
    assert (out == UNTOUCHED).all()


@pytest.mark.parametrize("name", CALLS)
def test_zero_rows_write_nothing(name: str, out: Tensor, ones: Tensor) -> None:
    CALLS[name](out, ones, num_rows=0)
    assert (out == UNTOUCHED).all()


@pytest.mark.parametrize("name", CALLS)
def test_the_stride_of_a_single_row_does_not_matter(name: str, out: Tensor, ones: Tensor) -> None:
    strides = {} if name == "gather" else {"x_stride": 0}
    CALLS[name](out, ones, num_rows=1, out_stride=0, **strides)
    assert (out[:16] != UNTOUCHED).all()
    assert (out[64:] == UNTOUCHED).all()


# --- attention: one sequence of 20 tokens, two heads that share a key head, blocks of 16


class Attention:
    """Arguments of one step that are right, and the memory that they name."""

    def __init__(self) -> None:
        self.positions = torch.arange(20, dtype=torch.int32)
        self.slots = torch.arange(20, dtype=torch.int32)
        self.table = torch.tensor([[0, 1]], dtype=torch.int32)
        self.query_starts = torch.tensor([0, 20], dtype=torch.int32)
        self.context_lens = torch.tensor([20], dtype=torch.int32)
        self.tile_seqs = torch.zeros(20, dtype=torch.int32)
        self.tile_rows = torch.arange(0, 40, 2, dtype=torch.int32)
        self.qkv = torch.ones(20, 4 * 8)
        self.cos = torch.ones(20, 4)
        self.queries = torch.zeros(20, 16)
        self.out = torch.full((20, 16), UNTOUCHED)
        self.keys = torch.full((2, 8 * 16), UNTOUCHED)
        self.values = torch.full((2, 32 * 16), UNTOUCHED)
        self.step = PackedStep()

    def begin(self, **changes: int) -> None:
        right: dict[str, Any] = {
            "num_heads": 2,
            "num_kv_heads": 1,
            "head_dim": 8,
            "padded_dim": 32,
            "block_size": 16,
            "num_blocks": 2,
            "num_tokens": 20,
            "positions": self.positions.data_ptr(),
            "slots": self.slots.data_ptr(),
            "num_tiles": 20,  # of two rows each, so that processors with few registers do them too
            "tile_seqs": self.tile_seqs.data_ptr(),
            "tile_rows": self.tile_rows.data_ptr(),
            "query_starts": self.query_starts.data_ptr(),
            "context_lens": self.context_lens.data_ptr(),
            "block_tables": self.table.data_ptr(),
            "table_stride": 8,
            "queries": self.queries.data_ptr(),
            "out": self.out.data_ptr(),
            "scale": 1.0,
            "tanh_scale": 0.0,
        }
        self.step.pack(Step(**{**right, **changes}))

    def rotate(self, **changes: int) -> None:
        right: dict[str, Any] = {
            "qkv": self.qkv.data_ptr(),
            "qkv_stride": 4 * 32,
            "cos": self.cos.data_ptr(),
            "sin": self.cos.data_ptr(),
            "num_positions": 20,
            "q_norm": 0,
            "k_norm": 0,
            "eps": 0.0,
            "keys": self.keys.data_ptr(),
            "values": self.values.data_ptr(),
        }
        rotate_and_store(pool(), FP32, step=self.step, **{**right, **changes})

    def attend(self, window: int = 0) -> None:
        keys, values = self.keys.data_ptr(), self.values.data_ptr()
        attend(pool(), FP32, step=self.step, keys=keys, values=values, window=window)


@pytest.fixture
def attention() -> Attention:
    attention = Attention()
    attention.begin()
    return attention


def test_a_valid_step_is_computed(attention: Attention) -> None:
    attention.rotate()
    attention.attend()
    assert torch.equal(attention.out, torch.ones(20, 16))  # all values are ones


@pytest.mark.parametrize(
    "changes",
    [
        *({"num_heads": 0}, {"num_kv_heads": 0}, {"head_dim": 0}, {"block_size": 0}),
        *({"num_heads": 3, "num_kv_heads": 2}, {"num_kv_heads": 4}, {"head_dim": 7}),
        *({"padded_dim": 8}, {"padded_dim": 48}, {"head_dim": 34}, {"block_size": 8}),
        *({"num_tokens": -1}, {"num_tiles": -1}, {"num_blocks": -1}, {"table_stride": -8}),
    ],
    ids=str,
)
def test_unsupported_shapes_are_refused(attention: Attention, changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"must|cannot share|padded_dim"):
        attention.begin(**changes)
    attention.attend()  # the step that was packed before


def test_overlapping_rows_and_negative_windows_are_refused(attention: Attention) -> None:
    with pytest.raises(ValueError, match="overlap"):
        attention.rotate(qkv_stride=4 * 31)
    with pytest.raises(ValueError, match="window"):
        attention.attend(window=-1)
    assert (attention.keys == UNTOUCHED).all()
    assert (attention.out == UNTOUCHED).all()


# --- indices that the kernels read from memory


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What tasks raised."""
    messages: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: messages.append(str(args.exc_value)))
    return messages


def fails(call: Callable[[], None], reported: list[str], message: str) -> None:
    with pytest.raises(KernelError):
        call()
    assert set(reported) == {message}
    reported.clear()


@pytest.mark.parametrize("token_id", [-1, 64, 1 << 40])
def test_a_token_id_outside_the_table(
    token_id: int, out: Tensor, ones: Tensor, reported: list[str]
) -> None:
    ids = torch.tensor([0, token_id, 63])
    rows = {"size": 16, "num_rows": 3, "out_stride": 64, "num_k": 16, "num_columns": 64}
    arguments: dict[str, Any] = {"w": ones.data_ptr(), "out": out.data_ptr(), **rows}
    fails(
        lambda: gather_packed(pool(), FP32, token_ids=ids.data_ptr(), **arguments),
        reported,
        "a token id is not in the embedding table",
    )
    assert (out[16:32] == UNTOUCHED).all()


@pytest.mark.parametrize("position", [-1, 20])
def test_a_position_outside_the_tables(
    attention: Attention, position: int, reported: list[str]
) -> None:
    attention.positions[7] = position
    fails(attention.rotate, reported, "a position is outside of the rotary tables")


@pytest.mark.parametrize("slot", [-1, 32])
def test_a_slot_outside_the_cache(attention: Attention, slot: int, reported: list[str]) -> None:
    attention.slots[19] = slot
    fails(attention.rotate, reported, "a slot is outside of the cache")


@pytest.mark.parametrize("block", [-1, 2])
def test_a_block_outside_the_cache(attention: Attention, block: int, reported: list[str]) -> None:
    attention.rotate()
    attention.table[0, 1] = block
    fails(attention.attend, reported, "a block is outside of the cache")


def test_a_context_longer_than_its_block_table(attention: Attention, reported: list[str]) -> None:
    attention.rotate()
    attention.context_lens[0] = 33
    fails(attention.attend, reported, "a context is longer than its block table")
