"""The decoder's operations on a CPU, by the kernels of models.simd.

The residual stream is float32, which costs nothing here and keeps it exact; activations have
dtype. Rows are padded to whole tiles of 32 columns: what comes back may be a view of wider rows,
whose pad holds zeros.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from headrace.models.config import Activation
from headrace.models.ops.base import (
    AdapterRows,
    ExpertMatrices,
    LowRank,
    LowRankPart,
    Ops,
    Routing,
    Weight,
    activate,
    apply_gate,
)
from headrace.models.ops.cpu_experts import PackedExperts, add_experts, pack_experts
from headrace.models.ops.cpu_low_rank import (
    Chunks,
    LowRankTable,
    PackedLowRank,
    chunks_of,
    pack_low_rank,
)
from headrace.models.ops.packed_weight import PackedWeight, packed_whole
from headrace.models.ops.tiles import interleave, tiles_of
from headrace.models.simd import matmul, norms, vectors
from headrace.models.simd.adapters.activation import activate_product
from headrace.models.simd.adapters.low_rank import add_low_rank
from headrace.models.simd.matmul import COLUMNS
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import element_tag


@dataclass(slots=True)
class EmbeddingTable(Weight):
    """[vocab, H], not packed."""

    table: Tensor

    @property
    def num_bytes(self) -> int:
        return self.table.nbytes


class CpuOps(Ops):
    """Raises UnsupportedModelError for types other than bfloat16 and float32, and ValueError for
    tensors whose shape, type or order in memory is not what a kernel reads or writes.
    """

    name = "vector kernels"

    def __init__(self, dtype: torch.dtype, thread_pool: ThreadPool | None = None) -> None:
        """thread_pool: computes; the caller alone, if there is none."""
        super().__init__(dtype, torch.device("cpu"))
        self._tag = element_tag(dtype)
        self._pool = thread_pool or ThreadPool()
        self._width = dtype.itemsize
        self._chunks: Chunks | None = None
        """The rows with adapters of the step that was begun last; None where it has none."""

    def begin_step(self, adapters: Sequence[AdapterRows]) -> None:
        self._chunks = chunks_of(adapters) if adapters else None

    def pack_low_rank(self, weight: Weight, parts: Sequence[LowRankPart]) -> PackedLowRank:
        packed = _unpack(weight)
        num_rows = packed.out_features * (2 if packed.gated else 1)
        if packed.gated and packed.fused:
            return pack_low_rank(parts, num_rows, self.dtype, lambda b: interleave(*b.chunk(2)))
        return pack_low_rank(parts, num_rows, self.dtype)

    def place_low_rank(self, weight: Weight, slot: int, low_rank: LowRank | None) -> None:
        packed = _unpack(weight)
        if packed.low_ranks is None:
            packed.low_ranks = LowRankTable()
        assert low_rank is None or isinstance(low_rank, PackedLowRank)
        packed.low_ranks.place(slot, low_rank)
        if not packed.low_ranks:
            packed.low_ranks = None

    def pack(self, weight: Tensor, bias: Tensor | None = None) -> PackedWeight:
        num_columns, num_k = weight.shape
        padded_bias = None
        if bias is not None:
            padded_bias = functional.pad(bias.float(), (0, -num_columns % COLUMNS))
        return PackedWeight(tiles_of(weight.to(self.dtype)), num_columns, num_k, padded_bias)

    def pack_gated(
        self, gate: Tensor, up: Tensor, activation: Activation, bias: Tensor | None = None
    ) -> PackedWeight:
        if activation != "silu" or bias is not None:
            packed = self.pack(torch.cat([gate, up]), bias)
        else:
            packed = self.pack(interleave(gate, up))
            packed.fused = True
        packed.out_features = gate.shape[0]
        packed.activation = activation
        packed.gated = True
        return packed

    def pack_activated(
        self, weight: Tensor, activation: Activation, bias: Tensor | None = None
    ) -> PackedWeight:
        packed = self.pack(weight, bias)
        packed.activation = activation
        packed.fused = activation in vectors.ACTIVATIONS
        return packed

    def pack_experts(
        self, experts: Iterable[ExpertMatrices], num_experts: int, activation: Activation
    ) -> PackedExperts:
        return pack_experts(experts, num_experts, activation, self.dtype)

    def pack_embedding(self, table: Tensor, output: Weight | None) -> Weight:
        if isinstance(output, PackedWeight):
            return output
        return EmbeddingTable(table.to(self.dtype).contiguous())

    def embed(self, token_ids: Tensor, table: Weight) -> Tensor:
        if isinstance(table, EmbeddingTable):
            rows = functional.embedding(token_ids, table.table).float()
            return functional.pad(rows, (0, -rows.shape[1] % COLUMNS))
        packed = _unpack(table)
        if token_ids.dtype != torch.int64 or not token_ids.is_contiguous():
            raise ValueError(f"token ids must be contiguous int64, not {token_ids.dtype}")
        padded = packed.in_features + -packed.in_features % COLUMNS
        out = torch.zeros(len(token_ids), padded)  # [T, H padded]
        norms.gather_packed(
            self._pool,
            self._tag,
            token_ids=token_ids.data_ptr(),
            w=packed.tiles.data_ptr(),
            num_k=packed.num_k,
            num_columns=packed.out_features,
            size=packed.in_features,
            out=out.data_ptr(),
            out_stride=out.stride(0) * 4,
            num_rows=len(token_ids),
        )
        return out

    def norm(self, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
        size = weight.shape[0]
        num_rows, num_columns = residual.shape
        if size > num_columns:
            raise ValueError(f"{size} weights for rows of {num_columns}")
        out = torch.empty(num_rows, size, dtype=self.dtype)
        norms.rms_norm(
            self._pool,
            self._tag,
            x=residual.data_ptr(),
            x_stride=residual.stride()[0] * 4,
            weight=weight.data_ptr(),
            eps=eps,
            size=size,
            out=out.data_ptr(),
            out_stride=size * self._width,
            num_rows=num_rows,
        )
        return out

    def layer_norm(
        self, residual: Tensor, weight: Tensor, bias: Tensor | None, eps: float
    ) -> Tensor:
        size = weight.shape[0]
        num_rows, num_columns = residual.shape
        if size > num_columns or (bias is not None and bias.shape != weight.shape):
            raise ValueError(f"{size} weights, and biases, for rows of {num_columns}")
        out = torch.empty(num_rows, size, dtype=self.dtype)
        norms.layer_norm(
            self._pool,
            self._tag,
            x=residual.data_ptr(),
            x_stride=residual.stride()[0] * 4,
            weight=weight.data_ptr(),
            bias=0 if bias is None else bias.data_ptr(),
            eps=eps,
            size=size,
            out=out.data_ptr(),
            out_stride=size * self._width,
            num_rows=num_rows,
        )
        return out

    def linear(self, x: Tensor, weight: Weight) -> Tensor:
        packed = _unpack(weight)
        num_rows, stride = _rows_of("x", x, packed.in_features, self.dtype)
        num_columns = packed.num_blocks * COLUMNS
        out = torch.empty(num_rows, num_columns)  # [T, N padded] float32
        if packed.bias is not None:
            out.copy_(packed.bias.expand_as(out))
        matmul.linear(
            self._pool,
            self._tag,
            x=x.data_ptr(),
            x_stride=stride * self._width,
            w=packed.tiles.data_ptr(),
            num_k=packed.num_k,
            num_blocks=packed.num_blocks,
            out=out.data_ptr(),
            out_stride=num_columns * 4,
            num_rows=num_rows,
            accumulate=packed.bias is not None,
        )
        if self._chunks is not None and packed.low_ranks is not None:
            self._add_low_rank(self._chunks, x, packed, packed.low_ranks, out)
        return _without_pad(out, packed.out_features)

    def add_linear(self, x: Tensor, weight: Weight, residual: Tensor) -> None:
        packed = _unpack(weight)
        num_rows, stride = _rows_of("x", x, packed.in_features, self.dtype)
        num_columns = packed.num_blocks * COLUMNS
        num_out_rows, out_stride = _rows_of("residual", residual, num_columns, torch.float32)
        if num_out_rows != num_rows:
            raise ValueError(f"x has {num_rows} rows, the residual stream {num_out_rows}")
        if packed.bias is not None:
            residual += packed.bias
        matmul.linear(
            self._pool,
            self._tag,
            x=x.data_ptr(),
            x_stride=stride * self._width,
            w=packed.tiles.data_ptr(),
            num_k=packed.num_k,
            num_blocks=packed.num_blocks,
            out=residual.data_ptr(),
            out_stride=out_stride * 4,
            num_rows=num_rows,
            accumulate=True,
        )
        if self._chunks is not None and packed.low_ranks is not None:
            self._add_low_rank(self._chunks, x, packed, packed.low_ranks, residual)

    def gated_linear(self, x: Tensor, weight: Weight) -> Tensor:
        packed = _unpack(weight)
        if not packed.fused:
            both = self.linear(x, packed_whole(packed))
            gate, up = both.chunk(2, dim=-1)
            return apply_gate(gate, up, packed.activation or "silu").to(self.dtype)
        if self._chunks is not None and packed.low_ranks is not None:
            return self._activate_with_adapters(x, packed)
        num_rows, stride = _rows_of("x", x, packed.in_features, self.dtype)
        num_columns = packed.num_blocks * COLUMNS // 2
        out = torch.empty(num_rows, num_columns, dtype=self.dtype)
        matmul.gated_linear(
            self._pool,
            self._tag,
            x=x.data_ptr(),
            x_stride=stride * self._width,
            w=packed.tiles.data_ptr(),
            num_k=packed.num_k,
            num_blocks=packed.num_blocks,
            out=out.data_ptr(),
            out_stride=num_columns * self._width,
            num_rows=num_rows,
        )
        return _without_pad(out, packed.out_features)

    def activated_linear(self, x: Tensor, weight: Weight) -> Tensor:
        packed = _unpack(weight)
        activation = packed.activation or "silu"
        if not packed.fused:
            return activate(self.linear(x, packed), activation).to(self.dtype)
        if self._chunks is not None and packed.low_ranks is not None:
            return self._activate_with_adapters(x, packed)
        num_rows, stride = _rows_of("x", x, packed.in_features, self.dtype)
        num_columns = packed.num_blocks * COLUMNS
        out = torch.empty(num_rows, num_columns, dtype=self.dtype)
        matmul.activated_linear(
            self._pool,
            self._tag,
            x=x.data_ptr(),
            x_stride=stride * self._width,
            w=packed.tiles.data_ptr(),
            num_k=packed.num_k,
            num_blocks=packed.num_blocks,
            bias=0 if packed.bias is None else packed.bias.data_ptr(),
            activation=vectors.ACTIVATIONS[activation],
            out=out.data_ptr(),
            out_stride=num_columns * self._width,
            num_rows=num_rows,
        )
        return _without_pad(out, packed.out_features)

    def add_experts(self, x: Tensor, routing: Routing, experts: Weight, residual: Tensor) -> None:
        assert isinstance(experts, PackedExperts)
        num_rows, _ = _rows_of("x", x, experts.hidden_size, self.dtype)
        num_columns = experts.down.shape[1] * COLUMNS
        num_out_rows, _ = _rows_of("residual", residual, num_columns, torch.float32)
        if num_out_rows != num_rows or len(routing.experts) != num_rows:
            raise ValueError(
                f"x has {num_rows} rows, the residual stream {num_out_rows}, the routing "
                f"{len(routing.experts)}"
            )
        if num_rows > 0:
            add_experts(self._pool, self._tag, x, routing, experts, residual)

    def _activate_with_adapters(self, x: Tensor, packed: PackedWeight) -> Tensor:
        """``gated_linear`` or ``activated_linear`` of a fused weight, with the updates of adapters
        between product and activation. Rows without an adapter get the same bits."""
        whole = packed_whole(packed) if packed.gated else packed  # gate and up stay interleaved
        product = self.linear(x, whole)
        num_rows, num_columns = len(product), packed.num_blocks * COLUMNS
        if packed.gated:
            num_columns //= 2
        out = torch.empty(num_rows, num_columns, dtype=self.dtype)
        activate_product(
            self._pool,
            self._tag,
            x=product.data_ptr(),
            x_stride=product.stride(0) * 4,
            num_blocks=packed.num_blocks,
            is_gated=packed.gated,
            activation=vectors.ACTIVATIONS[packed.activation or "silu"],
            out=out.data_ptr(),
            out_stride=num_columns * self._width,
            num_rows=num_rows,
        )
        return _without_pad(out, packed.out_features)

    def _add_low_rank(
        self, chunks: Chunks, x: Tensor, packed: PackedWeight, table: LowRankTable, out: Tensor
    ) -> None:
        """out: [T, N padded] float32, changed in place."""
        table.reserve(chunks.end_slot)
        add_low_rank(
            self._pool,
            self._tag,
            x=x.data_ptr(),
            x_stride=x.stride(0) * self._width,
            num_k=packed.num_k,
            num_rows=len(x),
            slots=table.address,
            chunks=chunks.address,
            num_chunks=chunks.num_within(len(x)),
            out=out.data_ptr(),
            out_stride=out.stride(0) * 4,
            num_blocks=packed.num_blocks,
        )


def _rows_of(name: str, rows: Tensor, num_columns: int, dtype: torch.dtype) -> tuple[int, int]:
    """How many rows there are, and how many elements from one to the next.

    Raises ValueError for tensors that a kernel would read or write past the end of.
    """
    num_rows, actual_columns = rows.shape
    stride, step = rows.stride()
    if actual_columns != num_columns or rows.dtype != dtype or step != 1:
        raise ValueError(
            f"{name} must be [T, {num_columns}] of {dtype} in whole rows, "
            f"not {list(rows.shape)} of {rows.dtype} with strides {rows.stride()}"
        )
    return num_rows, stride


def _without_pad(out: Tensor, num_columns: int) -> Tensor:
    return out if out.shape[1] == num_columns else out[:, :num_columns]


def _unpack(weight: Weight) -> PackedWeight:
    assert isinstance(weight, PackedWeight)
    return weight
