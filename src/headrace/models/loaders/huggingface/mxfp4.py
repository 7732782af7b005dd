"""Experts in MXFP4, as gpt-oss stores them: expanded when they are read."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from headrace.core.errors import ModelFileError
from headrace.models.loaders.fp4 import doubled_values, half_scales
from headrace.models.loaders.huggingface.safetensors_weights import SafetensorsWeights

_BLOCKS, _SCALES = "_blocks", "_scales"
_BLOCK_BYTES = 16
"""Of the 32 numbers that share a scale."""


class Mxfp4Weights:
    """Each pair NAME_blocks, [E, N, K / 32, 16], and NAME_scales, [E, N, K / 32], is a tensor
    NAME, [E, K, N], as in the files that are not quantized; the other tensors are as stored.
    """

    def __init__(self, stored: SafetensorsWeights) -> None:
        """Raises ModelFileError for blocks and scales that do not belong together."""
        self._stored = stored
        self._shapes = dict(self._expanded_shapes())

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self._shapes

    @property
    def stored_dtype(self) -> torch.dtype:
        return self._stored.stored_dtype

    def read(self, name: str, dtype: torch.dtype, index: int | None = None) -> Tensor:
        """index: the expert; must be given for expanded tensors."""
        if name in self._stored.shapes:
            return self._stored.read(name, dtype, index)
        blocks = self._stored.read_bytes(name + _BLOCKS, index)
        scales = half_scales(self._stored.read_bytes(name + _SCALES, index))
        values = functional.embedding(blocks.int(), _pairs(dtype)).flatten(-2)
        values *= scales.to(dtype)[..., None]  # both are exact in bfloat16
        return values.flatten(-2).transpose(-1, -2)

    def _expanded_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        stored = self._stored.shapes
        for name, shape in stored.items():
            whole = name.removesuffix(_BLOCKS).removesuffix(_SCALES)
            blocks, scales = stored.get(whole + _BLOCKS), stored.get(whole + _SCALES)
            if whole == name:
                yield name, shape
            elif blocks is None or scales is None or blocks != (*scales, _BLOCK_BYTES):
                raise ModelFileError(
                    f"Tensor '{name}' has no blocks and scales of matching shapes. Fetch the "
                    "model again."
                )
            elif len(scales) == 3:
                num_experts, num_rows, num_blocks = scales
                yield whole, (num_experts, num_blocks * 2 * _BLOCK_BYTES, num_rows)


def _pairs(dtype: torch.dtype) -> Tensor:
    """[256, 2]: the two numbers of each byte, that of its low half first."""
    values = doubled_values().to(dtype)
    byte = torch.arange(256)
    return torch.stack([values[byte & 15], values[byte >> 4]], dim=1)
