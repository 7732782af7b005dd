"""The cosine and sine tables of rotary position embedding, with all supported scalings.

Attention backends rotate with these tables.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from headrace.core.errors import UnsupportedModelError
from headrace.models.config import DecoderConfig, RopeConfig


@dataclass(frozen=True, slots=True)
class RotaryTables:
    """Row p holds the cosines and sines of the angles by which position p is rotated."""

    cos: Tensor
    """[max_position, head_dim / 2] float32."""
    sin: Tensor
    """[max_position, head_dim / 2] float32."""


def layer_rotary_tables(config: DecoderConfig, max_position: int) -> list[RotaryTables]:
    """The tables of each layer; layers that rotate alike share them."""
    tables: dict[RopeConfig | None, RotaryTables] = {}
    for layer in range(config.num_layers):
        rope = config.rope_of(layer)
        if rope not in tables:
            tables[rope] = rotary_tables(rope, config.head_dim, max_position)
    return [tables[config.rope_of(layer)] for layer in range(config.num_layers)]


def rotary_tables(rope: RopeConfig | None, head_dim: int, max_position: int) -> RotaryTables:
    """Tables for the positions [0, max_position), on the CPU (Su et al., 2021).

    Pairs of dimensions that are not rotated have the angle 0; None rotates nothing.

    Dynamic scaling depends on the longest context, and so do longrope's factors: it is taken to be
    max_position here, so that cached keys stay valid while a request grows. Up to the original
    context nothing is scaled.
    """
    cos = torch.ones(max_position, _half(head_dim))
    sin = torch.zeros(max_position, _half(head_dim))
    if rope is not None:
        frequencies = _frequencies(rope, rope.rotary_dim or head_dim, max_position)
        positions = torch.arange(max_position, dtype=torch.float32)
        angles = torch.outer(positions, frequencies)  # [max_position, rotary_dim / 2]
        amplitude = _amplitude(rope)
        cos[:, : frequencies.numel()] = angles.cos() * amplitude
        sin[:, : frequencies.numel()] = angles.sin() * amplitude
    return RotaryTables(cos=cos, sin=sin)


def rotary_order(rows: Tensor, config: DecoderConfig) -> Tensor:
    """Rows of queries or keys, [heads * head_dim, ...], in the order that attention rotates."""
    if config.rotary_dim == config.head_dim:
        return rows
    return pair_by_halves(rows, config.head_dim, config.rotary_dim)


def pair_by_halves(rows: Tensor, head_dim: int, rotary_dim: int) -> Tensor:
    """Rows of queries or keys, [heads * head_dim, ...], in the order that attention rotates.

    A pair i and i + rotary_dim / 2 of a head moves to i and i + head_dim / 2, where the tables have
    its angle; the dimensions that are not rotated become the other pairs. Scores do not change, as
    queries and keys are reordered alike.
    """
    half, other = rotary_dim // 2, (head_dim - rotary_dim) // 2
    dims = torch.arange(head_dim)
    first, second, third, fourth = torch.split(dims, [half, half, other, other])
    order = torch.cat([first, third, second, fourth])
    heads = rows.view(-1, head_dim, *rows.shape[1:])
    return heads[:, order].reshape(rows.shape)


def _half(head_dim: int) -> int:
    if head_dim % 2:
        raise UnsupportedModelError(
            f"Rotary embedding turns pairs of dimensions, but head_dim is odd: {head_dim}."
        )
    return head_dim // 2


def _frequencies(rope: RopeConfig, head_dim: int, max_position: int) -> Tensor:
    """Radians a position, of each pair of dimensions: [head_dim / 2] float32.

    head_dim: the dimensions that are rotated.
    """
    _half(head_dim)
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
        case "longrope":
            is_long = max_position > rope.original_max_position
            factors = rope.long_factors if is_long else rope.short_factors
            frequencies = _divided(_plain(rope.theta, head_dim), factors)
    return _divided(frequencies, rope.freq_factors)


def _divided(frequencies: Tensor, factors: tuple[float, ...] | None) -> Tensor:
    if factors is None:
        return frequencies
    if len(factors) != frequencies.numel():
        raise UnsupportedModelError(
            f"The model has {len(factors)} rope frequency factors; with "
            f"{2 * frequencies.numel()} rotated dimensions it must have {frequencies.numel()}."
        )
    return frequencies / torch.tensor(factors, dtype=torch.float32)


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
    first = _dimension_of(rope, rope.beta_fast, half)
    last = _dimension_of(rope, rope.beta_slow, half)
    if rope.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * half - 1)
    width = max(last - first, 0.001)
    scaled = ((torch.arange(half, dtype=torch.float32) - first) / width).clamp(0, 1)
    return frequencies * (1 - scaled + scaled / rope.factor)


def _dimension_of(rope: RopeConfig, num_turns: float, half: int) -> float:
    """The pair of dimensions that turns so often within the original context."""
    wavelength = rope.original_max_position / num_turns
    return half * math.log(wavelength / (2 * math.pi)) / math.log(rope.theta)


def _amplitude(rope: RopeConfig) -> float:
    """YaRN and LongRoPE (Ding et al., 2024) sharpen the scores by making rotated queries and keys
    longer."""
    if rope.scaling not in ("yarn", "longrope"):
        return 1.0
    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.factor <= 1:
        return 1.0
    if rope.scaling == "longrope":
        return math.sqrt(1 + math.log(rope.factor) / math.log(rope.original_max_position))
    return 0.1 * math.log(rope.factor) + 1.0
