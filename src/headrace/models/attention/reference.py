"""Attention in plain torch, written to be read: the ground truth of the tests.

Slow: it gathers each sequence's keys and values and attends to them.
"""

import math

import torch
from torch import Tensor

from headrace.core.errors import CallOrderError
from headrace.models.attention.base import Attention, AttentionSpec, PagedBatch


class ReferenceAttention(Attention):
    """Any device and floating dtype. Computes in float32, or in float64 if that is the dtype."""

    name = "torch"

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__(spec)
        self._compute_dtype = torch.promote_types(spec.dtype, torch.float32)
        self._keys: list[Tensor] = []
        """A layer: [num_blocks, block_size, num_kv_heads, head_dim]."""
        self._values: list[Tensor] = []
        self._batch: PagedBatch | None = None

    def allocate(self, num_blocks: int) -> None:
        spec = self.spec
        shape = (num_blocks, spec.block_size, spec.num_kv_heads, spec.head_dim)
        for _ in range(spec.num_layers):
            self._keys.append(torch.zeros(shape, dtype=spec.dtype, device=spec.device))
            self._values.append(torch.zeros(shape, dtype=spec.dtype, device=spec.device))

    def begin_step(self, batch: PagedBatch) -> None:
        self._batch = batch

    @property
    def positions(self) -> Tensor:
        return self._begun().positions

    def attend(
        self,
        layer: int,
        qkv: Tensor,
        cos: Tensor,
        sin: Tensor,
        qk_norm: tuple[Tensor, Tensor, float] | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        spec, batch = self.spec, self._begun()

        heads = torch.unflatten(qkv, 1, (-1, spec.head_dim))
        counts = [spec.num_heads, spec.num_kv_heads, spec.num_kv_heads]
        query, key, value = torch.split(heads.to(self._compute_dtype), counts, dim=1)
        if qk_norm is not None:
            query_weight, key_weight, eps = qk_norm
            query = _rms_norm(query, query_weight, eps)
            key = _rms_norm(key, key_weight, eps)
        query = _rotate(query, cos[batch.positions], sin[batch.positions])
        key = _rotate(key, cos[batch.positions], sin[batch.positions])

        keys, values = self._keys[layer], self._values[layer]
        keys.view(-1, spec.num_kv_heads, spec.head_dim)[batch.slots] = key.to(spec.dtype)
        values.view(-1, spec.num_kv_heads, spec.head_dim)[batch.slots] = value.to(spec.dtype)

        output = torch.empty_like(query)  # [T, num_heads, head_dim]
        starts = batch.query_starts.tolist()
        window = spec.windows[layer]
        for seq, context_len in enumerate(batch.context_lens.tolist()):
            rows = slice(starts[seq], starts[seq + 1])
            first = 0  # the first position that a query of this step sees
            if window is not None:
                first = max(0, context_len - (starts[seq + 1] - starts[seq]) + 1 - window)
            first_block = first // spec.block_size
            blocks = batch.block_tables[seq, first_block : math.ceil(context_len / spec.block_size)]
            positions = slice(first % spec.block_size, context_len - first_block * spec.block_size)
            output[rows] = _attend_to_all(
                query[rows],
                keys[blocks].flatten(0, 1)[positions].to(self._compute_dtype),
                values[blocks].flatten(0, 1)[positions].to(self._compute_dtype),
                spec,
                window,
                sinks,
            )
        return output.flatten(1).to(spec.dtype)

    def _begun(self) -> PagedBatch:
        if self._batch is None or not self._keys:
            raise CallOrderError("Call allocate() once and begin_step() before attend().")
        return self._batch


def _rms_norm(heads: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Over each head by itself (Zhang and Sennrich, 2019)."""
    mean_square = heads.square().mean(dim=-1, keepdim=True)
    return heads * torch.rsqrt(mean_square + eps) * weight.to(heads.dtype)


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pair i is dimensions i and i + head_dim / 2; cos and sin: [T, head_dim / 2]."""
    first, second = heads.chunk(2, dim=-1)
    cos, sin = cos[:, None].to(heads.dtype), sin[:, None].to(heads.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _attend_to_all(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    spec: AttentionSpec,
    window: int | None,
    sinks: Tensor | None,
) -> Tensor:
    """One sequence, whose queries are the last of its positions.

    query: [num_queries, num_heads, head_dim]; keys, values: [num_keys, num_kv_heads, head_dim], of
    its last positions.
    """
    num_queries, num_heads, head_dim = query.shape
    num_keys, num_kv_heads, _ = keys.shape
    group = num_heads // num_kv_heads  # query heads that share a key and value head
    grouped = query.view(num_queries, num_kv_heads, group, head_dim)
    scores = torch.einsum("qhgd,khd->hgqk", grouped, keys) * spec.scale
    if spec.softcap is not None:
        scores = spec.softcap * torch.tanh(scores / spec.softcap)

    key_positions = torch.arange(num_keys, device=query.device)
    positions = key_positions[num_keys - num_queries :, None]
    visible = key_positions <= positions  # [num_queries, num_keys]
    if window is not None:
        visible &= key_positions > positions - window
    scores = scores.masked_fill(~visible, -math.inf)
    if sinks is not None:
        column = sinks.to(scores.dtype).view(num_kv_heads, group, 1, 1)
        scores = torch.cat([scores, column.expand(-1, -1, num_queries, 1)], dim=-1)
    weights = scores.softmax(dim=-1)[..., :num_keys]
    return torch.einsum("hgqk,khd->qhgd", weights, values).flatten(1, 2)
