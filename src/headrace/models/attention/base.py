"""The attention protocol: what a step looks like to attention, and what a backend must do.

A backend gets all shapes in an AttentionSpec, then is called layer by layer.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AttentionSpec:
    """What all layers of one model share."""

    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    block_size: int
    dtype: torch.dtype
    device: torch.device
    windows: tuple[int | None, ...]
    """[num_layers] sliding window of each layer."""
    score_scale: float | None = None
    """Multiplies scores; None means 1 / sqrt(head_dim)."""
    softcap: float | None = None
    """Scaled scores s become softcap * tanh(s / softcap); None leaves them."""

    @property
    def scale(self) -> float:
        """What scores are multiplied by."""
        return 1.0 / math.sqrt(self.head_dim) if self.score_scale is None else self.score_scale

    @property
    def qkv_size(self) -> int:
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim

    @property
    def block_bytes(self) -> int:
        """Bytes of keys and values of one block over all layers."""
        per_token = 2 * self.num_layers * self.num_kv_heads * self.head_dim
        return per_token * self.block_size * self.dtype.itemsize


@dataclass(slots=True)
class PagedBatch:
    """One step's sequences, S of them with T query tokens in all; all int32 on the device.

    Sequence s computes positions [context_lens[s] - query_len(s), context_lens[s]), whose rows
    are [query_starts[s], query_starts[s + 1]) of the step's tokens.
    """

    query_starts: Tensor
    """[S + 1]."""
    context_lens: Tensor
    """[S] tokens in the cache after this step."""
    block_tables: Tensor
    """[S, max_blocks]; entries past a sequence's blocks are never read, nor those wholly before the
    layer's window of its first query."""
    positions: Tensor
    """[T]."""
    slots: Tensor
    """[T] block_id * block_size + offset, where each token's key and value go."""
    num_seqs: int
    num_tokens: int
    max_query_len: int
    max_context_len: int


class Attention(ABC):
    """Owns the cache's memory and attends within it.

    The cache's layout is private to the backend.
    """

    def __init__(self, spec: AttentionSpec) -> None:
        self.spec = spec

    @property
    def name(self) -> str:
        """This backend's name in the table printed at the start."""
        return type(self).__name__

    @property
    def block_bytes(self) -> int:
        """Bytes of one block over all layers, a layout's padding included."""
        return self.spec.block_bytes

    @abstractmethod
    def allocate(self, num_blocks: int) -> None:
        """Allocate this number of blocks; must be called once before the first step."""

    @abstractmethod
    def begin_step(self, batch: PagedBatch) -> None:
        """Set the step that the next ``attend`` calls compute."""

    @property
    @abstractmethod
    def positions(self) -> Tensor:
        """[T] int32, of the step that was begun last."""

    @abstractmethod
    def attend(
        self,
        layer: int,
        qkv: Tensor,
        cos: Tensor,
        sin: Tensor,
        qk_norm: tuple[Tensor, Tensor, float] | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """Norm and rotate q and k, write k and v into the cache, attend.

        qkv: [T, qkv_size] of the spec's dtype or float32: queries, keys, values, each head after
        head. It may be overwritten.
        cos, sin: [max_position, head_dim / 2] float32. Dimensions i and i + head_dim / 2 of a
        head are rotated as a pair; cos 1 and sin 0 leave it as it is.
        qk_norm: (q weight [head_dim], k weight [head_dim], eps), float32, or None.
        sinks: [num_heads] float32, contiguous: a head's score for nothing at all, one more term of
        the sum that divides its weights (Xiao et al., 2023; gpt-oss).
        Returns [T, num_heads * head_dim] of the spec's dtype, which the next call may overwrite.
        """
