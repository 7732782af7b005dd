"""Reads the weights of one model's parts, in the type and on the device of its operations."""

import torch
from torch import Tensor

from headrace.models.config import DecoderConfig
from headrace.models.loaders.base import WeightReader
from headrace.models.ops.base import Ops, Weight
from headrace.models.rope import rotary_order


class PartReader:
    """Reads canonical names; a module is a name without ``.weight`` or ``.bias``."""

    def __init__(self, config: DecoderConfig, ops: Ops, weights: WeightReader) -> None:
        self.config = config
        self.ops = ops
        self._weights = weights

    def matrix(self, module: str) -> Tensor:
        return self._weights.read(f"{module}.weight", self.ops.dtype)

    def bias(self, module: str) -> Tensor:
        return self._weights.read(f"{module}.bias", self.ops.dtype)

    def linear(self, module: str, *, bias: bool) -> Weight:
        """Packed for ``Ops.linear`` and ``Ops.add_linear``."""
        return self.ops.pack(self.matrix(module), self.bias(module) if bias else None)

    def vector(self, name: str) -> Tensor:
        """Float32, on the device."""
        vector = self._weights.read(name, torch.float32)
        return vector.to(self.ops.device).contiguous()

    def qkv(self, attention: str) -> Weight:
        """Queries, keys and values in one matrix, rows in the order that attention rotates."""
        modules = [f"{attention}.{name}_proj" for name in "qkv"]
        matrix = self._stacked([self.matrix(module) for module in modules])
        bias = None
        if self.config.qkv_bias:
            bias = self._stacked([self.bias(module) for module in modules])
        return self.ops.pack(matrix, bias)

    def rotary_order(self, rows: Tensor) -> Tensor:
        """Rows of queries or keys, [heads * head_dim, ...], in the order that attention rotates."""
        return rotary_order(rows, self.config)

    def _stacked(self, parts: list[Tensor]) -> Tensor:
        query, key, value = parts
        return torch.cat([self.rotary_order(query), self.rotary_order(key), value])
