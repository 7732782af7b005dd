"""Attention on a CPU: the cache's memory, and calls of the kernels in models.simd."""

import numpy as np
import torch
from torch import Tensor

from headrace.core.errors import UnsupportedModelError
from headrace.models import large_pages
from headrace.models.attention.base import Attention, AttentionSpec, PagedBatch
from headrace.models.simd import vectors
from headrace.models.simd.attention_step import PackedStep, Step, padded_dim
from headrace.models.simd.matmul_tile import num_tile_rows
from headrace.models.simd.paged_attention import attend
from headrace.models.simd.rotary import rotate_and_store
from headrace.models.simd.thread_pool import ThreadPool
from headrace.models.simd.vectors import element_tag


class CpuAttention(Attention):
    """Keys and values of each layer in two tensors; their layout is models.simd.attention_step's.

    Raises UnsupportedModelError for types other than bfloat16 and float32, for blocks that are
    not a multiple of 16 tokens, and for odd head sizes; ValueError for tensors of other shapes than
    the step's.
    """

    def __init__(self, spec: AttentionSpec, thread_pool: ThreadPool | None = None) -> None:
        """thread_pool: computes; the caller alone, if there is none."""
        super().__init__(spec)
        self._pool = thread_pool or ThreadPool()
        self._tag = element_tag(spec.dtype)
        if spec.block_size % vectors.LANES:
            raise UnsupportedModelError(
                f"block_size must be a multiple of {vectors.LANES} on a CPU, got {spec.block_size}."
            )
        if spec.head_dim % 2:
            raise UnsupportedModelError(f"The head size must be even, got {spec.head_dim}.")
        self._padded_dim = padded_dim(spec.head_dim)
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._tile_rows = num_tile_rows()
        self._step = PackedStep()

    @property
    def name(self) -> str:
        return "paged, vector kernels"

    @property
    def block_bytes(self) -> int:
        spec = self.spec
        per_token = spec.num_layers * spec.num_kv_heads * (spec.head_dim + self._padded_dim)
        return per_token * spec.block_size * spec.dtype.itemsize

    def allocate(self, num_blocks: int) -> None:
        spec = self.spec
        self._num_blocks = num_blocks
        head_block = spec.num_kv_heads * spec.block_size
        self._keys = [
            large_pages.empty((num_blocks, head_block * spec.head_dim), spec.dtype)
            for _ in range(spec.num_layers)
        ]
        self._values = [
            large_pages.empty((num_blocks, head_block * self._padded_dim), spec.dtype)
            for _ in range(spec.num_layers)
        ]

    def begin_step(self, batch: PagedBatch) -> None:
        spec = self.spec
        query_lens = np.diff(batch.query_starts.numpy()[: batch.num_seqs + 1])
        rows = query_lens * (spec.num_heads // spec.num_kv_heads)
        tiles = -(-rows // self._tile_rows)  # [S]
        num_tiles = int(tiles.sum())
        ends = np.cumsum(tiles)
        seqs = np.repeat(np.arange(batch.num_seqs, dtype=np.int32), tiles)
        index = np.arange(num_tiles) - np.repeat(ends - tiles, tiles)  # tile within its sequence
        tile_seqs = torch.from_numpy(seqs)
        tile_rows = torch.from_numpy((index * self._tile_rows).astype(np.int32))
        size = spec.num_heads * spec.head_dim
        self._qkv_shape = (batch.num_tokens, spec.qkv_size)
        queries = torch.empty(batch.num_tokens, size, dtype=spec.dtype)
        self._out = torch.empty(batch.num_tokens, size, dtype=spec.dtype)
        self._kept = (batch, tile_seqs, tile_rows, queries)  # the step has their addresses
        self._step.pack(
            Step(
                num_heads=spec.num_heads,
                num_kv_heads=spec.num_kv_heads,
                head_dim=spec.head_dim,
                padded_dim=self._padded_dim,
                block_size=spec.block_size,
                num_blocks=self._num_blocks,
                num_tokens=batch.num_tokens,
                positions=batch.positions.data_ptr(),
                slots=batch.slots.data_ptr(),
                num_tiles=num_tiles,
                tile_seqs=tile_seqs.data_ptr(),
                tile_rows=tile_rows.data_ptr(),
                query_starts=batch.query_starts.data_ptr(),
                context_lens=batch.context_lens.data_ptr(),
                block_tables=batch.block_tables.data_ptr(),
                table_stride=batch.block_tables.stride(0) * 4,
                queries=queries.data_ptr(),
                out=self._out.data_ptr(),
                scale=spec.softcap or spec.scale,
                tanh_scale=spec.scale / spec.softcap if spec.softcap else 0.0,
            )
        )

    @property
    def positions(self) -> Tensor:
        return self._kept[0].positions

    def attend(
        self,
        layer: int,
        qkv: Tensor,
        cos: Tensor,
        sin: Tensor,
        qk_norm: tuple[Tensor, Tensor, float] | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        qkv = qkv.float()  # as the linear kernels give it; nothing is copied then
        num_positions, half = cos.shape
        stride, step = qkv.stride()
        if qkv.shape != self._qkv_shape or step != 1 or half * 2 != self.spec.head_dim:
            raise ValueError(
                f"qkv must be {list(self._qkv_shape)} in whole rows, cos [positions, "
                f"{self.spec.head_dim // 2}], not {list(qkv.shape)} and {list(cos.shape)}"
            )
        keys, values = self._keys[layer].data_ptr(), self._values[layer].data_ptr()
        q_norm, k_norm, eps = 0, 0, 0.0
        if qk_norm is not None:
            q_norm, k_norm, eps = qk_norm[0].data_ptr(), qk_norm[1].data_ptr(), qk_norm[2]
        rotate_and_store(
            self._pool,
            self._tag,
            step=self._step,
            qkv=qkv.data_ptr(),
            qkv_stride=stride * 4,
            cos=cos.data_ptr(),
            sin=sin.data_ptr(),
            num_positions=num_positions,
            q_norm=q_norm,
            k_norm=k_norm,
            eps=eps,
            keys=keys,
            values=values,
        )
        attend(
            self._pool,
            self._tag,
            step=self._step,
            keys=keys,
            values=values,
            window=self.spec.windows[layer] or 0,
            sinks=0 if sinks is None else self._address_of_sinks(sinks),
        )
        return self._out

    def _address_of_sinks(self, sinks: Tensor) -> int:
        num_heads = self.spec.num_heads
        if sinks.shape != (num_heads,) or sinks.dtype != torch.float32 or sinks.stride() != (1,):
            raise ValueError(
                f"sinks must be [{num_heads}] float32, not {list(sinks.shape)} {sinks.dtype}"
            )
        return sinks.data_ptr()
