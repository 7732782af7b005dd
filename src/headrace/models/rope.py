"""The cosine and sine tables of rotary position embedding, with all supported scalings.

Attention backends rotate with these tables.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from headrace.core.errors import UnsupportedModelError
from headrace.models.config import RopeConfig


@dataclass(frozen=True, slots=True)
class RotaryTables:
    """Row p holds the cosines and sines of the angles by which position p is rotated."""

    cos: Tensor
    """[max_position, head_dim / 2] float32."""
    sin: Tensor
    """[max_position, head_dim / 2] float32."""


def rotary_tables(rope: RopeConfig, head_dim: int, max_position: int) -> RotaryTables:
    """Tables for the positions [0, max_position), on the CPU (Su et al., 2021).

    Dynamic scaling depends on the longest context: it is taken to be max_position here, so that
    cached keys stay valid while a request grows. Up to the original context nothing is scaled.
    """
    frequencies = _frequencies(rope, head_dim, max_position)  # [head_dim / 2]
    positions = torch.arange(max_position, dtype=torch.float32)
    angles = torch.outer(positions, frequencies)  # [max_position, head_dim / 2]
    amplitude = _amplitude(rope)
    return RotaryTables(cos=angles.cos() * amplitude, sin=angles.sin() * amplitude)


def _frequencies(rope: RopeConfig, head_dim: int, max_position: int) -> Tensor:
    """Radians a position, of each pair of dimensions: [head_dim / 2] float32."""
    if head_dim % 2:
        raise UnsupportedModelError(
            f"Rotary embedding turns pairs of dimensions, but head_dim is odd: {head_dim}."
        )
    match rope.scaling:
        case "none":
            frequencies = _plain(rope.theta, head_dim)
        case "linear":
            frequencies = _plain(rope.theta, head_dim) / rope.factor
        case "dynamic":
            frequencies = _plain(_dynamic_theta(rope, head_dim, max_position), head_dim)
        case "llama3":
            frequencies = _llama3(rope, _plain(rope.theta, head_dim))
        case "yarn":
            frequencies = _yarn(rope, _plain(rope.theta, head_dim))
    if rope.freq_factors is None:
        return frequencies
    if len(rope.freq_factors) != head_dim // 2:
        raise UnsupportedModelError(
            f"The model has {len(rope.freq_factors)} rope frequency factors; with head_dim "
            f"{head_dim} it must have {head_dim // 2}."
        )
    return frequencies / torch.tensor(rope.freq_factors, dtype=torch.float32)


def _plain(theta: float, head_dim: int) -> Tensor:
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    return 1.0 / theta**exponents


def _dynamic_theta(rope: RopeConfig, head_dim: int, max_position: int) -> float:
    """NTK-aware scaling of the base with the context's length (bloc97 and emozilla, 2023)."""
    stretch = max(max_position, rope.original_max_position) / rope.original_max_position
    scale: float = (rope.factor * stretch - (rope.factor - 1)) ** (head_dim / (head_dim - 2))
    return rope.theta * scale


def _llama3(rope: RopeConfig, frequencies: Tensor) -> Tensor:
    """Slow turns are scaled, fast ones kept, those between are blended (Llama 3.1, 2024)."""
    turns = rope.original_max_position * frequencies / (2 * math.pi)  # in the original context
    width = rope.high_freq_factor - rope.low_freq_factor
    kept = ((turns - rope.low_freq_factor) / width).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / rope.factor)


def _yarn(rope: RopeConfig, frequencies: Tensor) -> Tensor:
    """As llama3, but the blend is linear in the dimension (YaRN: Peng et al., 2023)."""
    half = frequencies.numel()
    first = max(math.floor(_dimension_of(rope, rope.beta_fast, half)), 0)
    last = min(math.ceil(_dimension_of(rope, rope.beta_slow, half)), 2 * half - 1)
    width = max(last - first, 0.001)
    scaled = ((torch.arange(half, dtype=torch.float32) - first) / width).clamp(0, 1)
    return frequencies * (1 - scaled + scaled / rope.factor)


def _dimension_of(rope: RopeConfig, num_turns: float, half: int) -> float:
    """The pair of dimensions that turns so often within the original context."""
    wavelength = rope.original_max_position / num_turns
    return half * math.log(wavelength / (2 * math.pi)) / math.log(rope.theta)


def _amplitude(rope: RopeConfig) -> float:
    """YaRN sharpens the scores by making rotated queries and keys longer."""
    if rope.scaling != "yarn":
        return 1.0
    if rope.attention_factor is not None:
        return rope.attention_factor
    return 0.1 * math.log(rope.factor) + 1.0 if rope.factor > 1 else 1.0
