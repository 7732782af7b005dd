"""Turns GGML's blocks of quantized weights into plain tensors.

The layouts are those of ggml (Gerganov et al., ggml-quants.h);
tests hold them against the `gguf` package's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from headrace.core.errors import UnsupportedModelError
from headrace.models.loaders.fp4 import doubled_values, half_scales

CHUNK_ELEMENTS = 1 << 15
"""Weights computed at once: what lies between fits into a processor's cache, and torch does not
spread so few over threads, whose meeting would take longer than the work."""


@dataclass(frozen=True, slots=True)
class BlockType:
    """One type of quantization."""

    size: int
    """Weights a block."""
    num_bytes: int
    """Bytes a block."""
    decode: Callable[[Tensor], Tensor]
    """[B, num_bytes] uint8 to [B, size] float32."""


def dequantize(
    data: Tensor, type_name: str, shape: tuple[int, ...], dtype: torch.dtype, name: str
) -> Tensor:
    """The weights in a tensor of their own, [*shape] of dtype.

    data: [num_bytes] uint8 on the CPU; name: the tensor's, for the error.
    Raises UnsupportedModelError when the type is none that we read.
    """
    if type_name in _PLAIN:
        return _reinterpret(data, _PLAIN[type_name]).view(shape).to(dtype, copy=True)
    block = BLOCK_TYPES.get(type_name)
    if block is None:
        raise UnsupportedModelError(
            f"Tensor '{name}' has the type {type_name}, which Headrace does not read. It reads "
            f"{', '.join(readable_types())}; take a file that was quantized to one of them."
        )
    blocks = data.view(-1, block.num_bytes)
    weights = torch.empty(len(blocks), block.size, dtype=dtype)
    step = max(CHUNK_ELEMENTS // block.size, 1)
    for start in range(0, len(blocks), step):
        weights[start : start + step] = block.decode(blocks[start : start + step])
    return weights.view(shape)


def readable_types() -> list[str]:
    """The names of all types that ``dequantize`` knows."""
    return [*_PLAIN, *BLOCK_TYPES]


def _reinterpret(data: Tensor, dtype: torch.dtype) -> Tensor:
    """The bytes as numbers; copied where they do not lie on a multiple of their width."""
    if data.data_ptr() % dtype.itemsize:
        data = data.clone()
    return data.view(dtype)


def _half(blocks: Tensor, start: int) -> Tensor:
    """The float16 at a byte of every block: [B, 1] float32."""
    return blocks[:, start : start + 2].contiguous().view(torch.float16).float()


def _nibbles(packed: Tensor) -> Tensor:
    """All low halves, then all high halves: [B, n] to [B, 2 n], both uint8."""
    return torch.cat([packed & 0x0F, packed >> 4], dim=-1)


def _bits(packed: Tensor) -> Tensor:
    """Each bit, the lowest of each byte first: [B, n] to [B, 8 n], both uint8."""
    shifts = torch.arange(8, dtype=torch.uint8)
    return ((packed[:, :, None] >> shifts) & 1).flatten(1)


def _q4_0(blocks: Tensor) -> Tensor:
    return (_nibbles(blocks[:, 2:]).float() - 8) * _half(blocks, 0)


def _q4_1(blocks: Tensor) -> Tensor:
    return _nibbles(blocks[:, 4:]).float() * _half(blocks, 0) + _half(blocks, 2)


def _q5_0(blocks: Tensor) -> Tensor:
    quants = _nibbles(blocks[:, 6:]) | (_bits(blocks[:, 2:6]) << 4)
    return (quants.float() - 16) * _half(blocks, 0)


def _q5_1(blocks: Tensor) -> Tensor:
    quants = _nibbles(blocks[:, 8:]) | (_bits(blocks[:, 4:8]) << 4)
    return quants.float() * _half(blocks, 0) + _half(blocks, 2)


def _q8_0(blocks: Tensor) -> Tensor:
    return blocks[:, 2:].view(torch.int8).float() * _half(blocks, 0)


def _mxfp4(blocks: Tensor) -> Tensor:
    values = doubled_values()[_nibbles(blocks[:, 1:]).int()]
    return values * half_scales(blocks[:, :1])


def _q4_k(blocks: Tensor) -> Tensor:
    packed = blocks[:, 16:].reshape(-1, 4, 32)
    quants = torch.stack([packed & 0x0F, packed >> 4], dim=2).view(-1, 8, 32)
    return _scale_and_shift(blocks, quants)


def _q5_k(blocks: Tensor) -> Tensor:
    packed = blocks[:, 48:].reshape(-1, 4, 32)
    low = torch.stack([packed & 0x0F, packed >> 4], dim=2).view(-1, 8, 32)
    shifts = torch.arange(8, dtype=torch.uint8).view(1, 8, 1)
    high = (blocks[:, None, 16:48] >> shifts) & 1  # [B, 8, 32]: bit j belongs to sub-block j
    return _scale_and_shift(blocks, low | (high << 4))


def _q6_k(blocks: Tensor) -> Tensor:
    low = blocks[:, :128].reshape(-1, 2, 64)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32)
    scales = blocks[:, 192:208].view(torch.int8).float() * _half(blocks, 208)  # [B, 16]
    fours = torch.cat([low & 0x0F, low >> 4], dim=-1).view(-1, 2, 4, 32)
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8).view(1, 1, 4, 1)
    quants = fours | (((high >> shifts) & 3) << 4)  # [B, 2, 4, 32]
    return ((quants.view(-1, 16, 16).float() - 32) * scales[:, :, None]).flatten(1)


def _scale_and_shift(blocks: Tensor, quants: Tensor) -> Tensor:
    """Eight sub-blocks of 32, each with a scale and a minimum of six bits. quants: [B, 8, 32]."""
    first, second, third = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = torch.cat([first & 63, (third & 0x0F) | ((first >> 6) << 4)], dim=1)  # [B, 8]
    minima = torch.cat([second & 63, (third >> 4) | ((second >> 6) << 4)], dim=1)
    scale = scales.float() * _half(blocks, 0)
    minimum = minima.float() * _half(blocks, 2)
    return (quants.float() * scale[:, :, None] - minimum[:, :, None]).flatten(1)


_PLAIN: Mapping[str, torch.dtype] = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}

BLOCK_TYPES: Mapping[str, BlockType] = {
    "Q8_0": BlockType(32, 34, _q8_0),
    "Q4_0": BlockType(32, 18, _q4_0),
    "Q4_1": BlockType(32, 20, _q4_1),
    "Q5_0": BlockType(32, 22, _q5_0),
    "Q5_1": BlockType(32, 24, _q5_1),
    "MXFP4": BlockType(32, 17, _mxfp4),
    "Q4_K": BlockType(256, 144, _q4_k),
    "Q5_K": BlockType(256, 176, _q5_k),
    "Q6_K": BlockType(256, 210, _q6_k),
}
