"""The decoder's operations on a CPU, by the kernels of models.simd.

The residual stream is float32, which costs nothing here and keeps it exact; activations have
dtype. Rows are padded to whole tiles of 32 columns: what comes back may be a view of wider rows,
whose pad holds zeros.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from headrace.core.errors import UnsupportedModelError
from headrace.models.config import Activation
from headrace.models.ops.base import Ops, Weight, activate
from headrace.models.simd import large_pages, norms, products, vectors
from headrace.models.simd.elements import element_tag
from headrace.models.simd.products import COLUMNS
from headrace.models.simd.thread_pool import ThreadPool


@dataclass(slots=True)
class PackedWeight(Weight):
    """[N / 32, K / g, 32, g] as models.simd.products reads it; g values fill four bytes."""

    tiles: Tensor
    out_features: int
    in_features: int
    bias: Tensor | None = None
    """[N padded to 32] float32."""
    activation: Activation | None = None
    fused: bool = False
    """Each block holds 16 columns of gate, then the same 16 of up."""

    @property
    def num_bytes(self) -> int:
        return self.tiles.nbytes

    @property
    def num_blocks(self) -> int:
        return self.tiles.shape[0]

    @property
    def num_k(self) -> int:
        """Elements to sum over, or pairs of them."""
        return self.tiles.shape[1]


@dataclass(slots=True)
class EmbeddingTable(Weight):
    """[vocab, H], not packed."""

    table: Tensor

    @property
    def num_bytes(self) -> int:
        return self.table.nbytes


class CpuOps(Ops):
    """Raises UnsupportedModelError for types other than bfloat16 and float32."""

    name = "vector kernels"

    def __init__(self, dtype: torch.dtype, thread_pool: ThreadPool | None = None) -> None:
        """thread_pool: computes; the caller alone, if there is none."""
        super().__init__(dtype, torch.device("cpu"))
        self._tag = element_tag(dtype)
        self._pool = thread_pool or ThreadPool()
        self._width = dtype.itemsize

    def pack(self, weight: Tensor, bias: Tensor | None = None) -> PackedWeight:
        num_columns, num_k = weight.shape
        padded_bias = None
        if bias is not None:
            padded_bias = functional.pad(bias.float(), (0, -num_columns % COLUMNS))
        return PackedWeight(_tiles(weight.to(self.dtype)), num_columns, num_k, padded_bias)

    def pack_gated(
        self, gate: Tensor, up: Tensor, activation: Activation, bias: Tensor | None = None
    ) -> PackedWeight:
        if activation != "silu" or bias is not None:
            packed = self.pack(torch.cat([gate, up]), bias)
        else:
            packed = self.pack(_interleave(gate, up))
            packed.fused = True
        packed.out_features = gate.shape[0]
        packed.activation = activation
        return packed

    def pack_embedding(self, table: Tensor, output: Weight | None) -> Weight:
        if isinstance(output, PackedWeight):
            return output
        return EmbeddingTable(table.to(self.dtype).contiguous())

    def embed(self, token_ids: Tensor, table: Weight) -> Tensor:
        if isinstance(table, EmbeddingTable):
            rows = functional.embedding(token_ids, table.table).float()
            return functional.pad(rows, (0, -rows.shape[1] % COLUMNS))
        packed = _unpack(table)
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
        num_rows, size = residual.shape[0], weight.shape[0]
        out = torch.empty(num_rows, size, dtype=self.dtype)
        norms.rms_norm(
            self._pool,
            self._tag,
            x=residual.data_ptr(),
            x_stride=residual.stride(0) * 4,
            weight=weight.data_ptr(),
            eps=eps,
            size=size,
            out=out.data_ptr(),
            out_stride=size * self._width,
            num_rows=num_rows,
        )
        return out

    def linear(self, x: Tensor, weight: Weight) -> Tensor:
        packed = _unpack(weight)
        out = torch.empty(x.shape[0], packed.num_blocks * COLUMNS)  # [T, N padded] float32
        if packed.bias is not None:
            out.copy_(packed.bias.expand_as(out))
        self._multiply(x, packed, out, accumulate=packed.bias is not None)
        return out[:, : packed.out_features]

    def add_linear(self, x: Tensor, weight: Weight, residual: Tensor) -> None:
        packed = _unpack(weight)
        if packed.bias is not None:
            residual += packed.bias
        self._multiply(x, packed, residual, accumulate=True)

    def gated_linear(self, x: Tensor, weight: Weight) -> Tensor:
        packed = _unpack(weight)
        if not packed.fused:
            both = self.linear(x, packed_whole(packed))
            gate, up = both.chunk(2, dim=-1)
            return (activate(gate, packed.activation or "silu") * up).to(self.dtype)
        out = torch.empty(x.shape[0], packed.num_blocks * COLUMNS // 2, dtype=self.dtype)
        products.gated_linear(
            self._pool,
            self._tag,
            x=x.data_ptr(),
            x_stride=x.stride(0) * self._width,
            w=packed.tiles.data_ptr(),
            num_k=packed.num_k,
            num_blocks=packed.num_blocks,
            out=out.data_ptr(),
            out_stride=out.stride(0) * self._width,
            num_rows=x.shape[0],
        )
        return out[:, : packed.out_features]

    def _multiply(self, x: Tensor, packed: PackedWeight, out: Tensor, *, accumulate: bool) -> None:
        products.linear(
            self._pool,
            self._tag,
            x=x.data_ptr(),
            x_stride=x.stride(0) * self._width,
            w=packed.tiles.data_ptr(),
            num_k=packed.num_k,
            num_blocks=packed.num_blocks,
            out=out.data_ptr(),
            out_stride=out.stride(0) * 4,
            num_rows=x.shape[0],
            accumulate=accumulate,
        )


def packed_whole(packed: PackedWeight) -> PackedWeight:
    """An unfused gated weight as the plain one it is: gate's columns, then up's."""
    return PackedWeight(
        packed.tiles, 2 * packed.out_features, packed.in_features, packed.bias, None, False
    )


def _interleave(gate: Tensor, up: Tensor) -> Tensor:
    """[2 N, K]: sixteen rows of gate, the same sixteen of up, and so on; N padded to 16."""
    rows = -(-gate.shape[0] // vectors.LANES) * vectors.LANES
    pad = (0, 0, 0, rows - gate.shape[0])
    halves = [functional.pad(m, pad).view(-1, 1, vectors.LANES, m.shape[1]) for m in (gate, up)]
    return torch.cat(halves, dim=1).reshape(2 * rows, gate.shape[1])


def _tiles(weight: Tensor) -> Tensor:
    """[N, K] to [N / 32, K / g, 32, g], N padded to 32 with zeros."""
    group = 4 // weight.element_size()
    num_columns, num_k = weight.shape
    if num_k % group:
        raise UnsupportedModelError(f"A layer's input size must be even in bfloat16: {num_k}.")
    padded = functional.pad(weight, (0, 0, 0, -num_columns % COLUMNS))
    blocks = padded.view(-1, COLUMNS, num_k // group, group)
    return large_pages.place(blocks.transpose(1, 2))


def _unpack(weight: Weight) -> PackedWeight:
    assert isinstance(weight, PackedWeight)
    return weight
