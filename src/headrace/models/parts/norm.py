"""The norms of the residual stream, and those of queries and keys before rotation."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from headrace.models.config import QkNormKind
from headrace.models.ops.base import Ops
from headrace.models.parts.part_reader import PartReader


class Norm(Protocol):
    """What a product of the layer reads of the residual stream."""

    def __call__(self, rows: Tensor) -> Tensor:
        """[T, H] of the activations' type. rows: [T, at least H]."""
        ...


@dataclass(slots=True)
class RmsNorm:
    """Zhang and Sennrich, 2019."""

    ops: Ops
    weight: Tensor
    """[H] float32."""
    eps: float

    def __call__(self, rows: Tensor) -> Tensor:
        return self.ops.norm(rows, self.weight, self.eps)


@dataclass(slots=True)
class LayerNorm:
    """Ba et al., 2016."""

    ops: Ops
    weight: Tensor
    """[H] float32."""
    bias: Tensor | None
    """[H] float32."""
    eps: float

    def __call__(self, rows: Tensor) -> Tensor:
        return self.ops.layer_norm(rows, self.weight, self.bias, self.eps)


@dataclass(slots=True)
class NoNorm:
    """The rows themselves, without their pad."""

    ops: Ops
    size: int

    def __call__(self, rows: Tensor) -> Tensor:
        return rows[:, : self.size].to(self.ops.dtype)


def read_norm(reader: PartReader, module: str) -> Norm:
    """The norm of this name, of the model's kind."""
    config = reader.config
    weight = reader.vector(f"{module}.weight")
    if config.norm_weight_offset:
        weight = weight + config.norm_weight_offset
    if config.norm == "rms":
        return RmsNorm(reader.ops, weight, config.norm_eps)
    bias = reader.vector(f"{module}.bias") if config.norm_bias else None
    return LayerNorm(reader.ops, weight, bias, config.norm_eps)


@dataclass(slots=True)
class QkNorm:
    """Of queries and keys. Those of kind "rms_head" are part of attention's own kernels."""

    kind: QkNormKind
    query_weight: Tensor
    """float32; "rms_head": [head_dim], otherwise [num_heads * head_dim]."""
    key_weight: Tensor
    """The same for the heads of keys."""
    eps: float
    head_dim: int

    @property
    def fused(self) -> tuple[Tensor, Tensor, float] | None:
        """For ``Attention.attend``."""
        if self.kind != "rms_head":
            return None
        return self.query_weight, self.key_weight, self.eps

    def apply(self, qkv: Tensor) -> None:
        """In place, unless attention does it. qkv: [T, qkv_size]."""
        if self.kind == "rms_head":
            return
        num_queries, num_keys = len(self.query_weight), len(self.key_weight)
        queries, keys = qkv[:, :num_queries], qkv[:, num_queries : num_queries + num_keys]
        for rows, weight in ((queries, self.query_weight), (keys, self.key_weight)):
            rows.copy_(self._normalized(rows.float(), weight))

    def _normalized(self, rows: Tensor, weight: Tensor) -> Tensor:
        if self.kind == "rms_row":
            return functional.rms_norm(rows, weight.shape, weight, self.eps)
        heads = torch.unflatten(rows, 1, (-1, self.head_dim))
        normed = functional.layer_norm(heads, (self.head_dim,), None, None, self.eps)
        return normed.flatten(1) * weight


def read_qk_norm(reader: PartReader, attention: str) -> QkNorm | None:
    """The norm of this layer's queries and keys, if it has one."""
    config = reader.config
    if config.qk_norm is None:
        return None
    names = [f"{attention}.{name}_norm.weight" for name in "qk"]
    query, key = (
        (reader.rotary_order(reader.vector(name)) + config.norm_weight_offset).to(torch.float32)
        for name in names
    )
    return QkNorm(config.qk_norm, query, key, config.norm_eps, config.head_dim)
