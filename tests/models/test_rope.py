"""Rotary tables against transformers' own embedding."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from headrace.core.errors import UnsupportedModelError
from headrace.models.config import RopeConfig
from headrace.models.rope import RotaryTables, rotary_tables

HEAD_DIM = 64
MAX_POSITION = 512


def theirs(
    num_positions: int, max_position_embeddings: int, parameters: dict[str, Any]
) -> RotaryTables:
    config = LlamaConfig(
        hidden_size=2 * HEAD_DIM,
        num_attention_heads=2,
        head_dim=HEAD_DIM,
        max_position_embeddings=max_position_embeddings,
        rope_parameters=parameters,
    )
    embedding = LlamaRotaryEmbedding(config)
    positions = torch.arange(num_positions)[None]
    cos, sin = embedding(torch.zeros(1, dtype=torch.float32), positions)
    return RotaryTables(cos=cos[0, :, : HEAD_DIM // 2], sin=sin[0, :, : HEAD_DIM // 2])


def assert_same(ours: RotaryTables, expected: RotaryTables) -> None:
    assert ours.cos.dtype == ours.sin.dtype == torch.float32
    torch.testing.assert_close(ours.cos, expected.cos, atol=5e-5, rtol=0)
    torch.testing.assert_close(ours.sin, expected.sin, atol=5e-5, rtol=0)


@pytest.mark.parametrize("theta", [10000.0, 500000.0, 1e6])
def test_plain(theta: float) -> None:
    expected = theirs(MAX_POSITION, MAX_POSITION, {"rope_type": "default", "rope_theta": theta})
    assert_same(rotary_tables(RopeConfig(theta=theta), HEAD_DIM, MAX_POSITION), expected)


def test_linear() -> None:
    parameters = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    rope = RopeConfig(scaling="linear", factor=4.0)
    assert_same(
        rotary_tables(rope, HEAD_DIM, MAX_POSITION),
        theirs(MAX_POSITION, MAX_POSITION, parameters),
    )


@pytest.mark.parametrize("num_positions", [100, 128, 129, 512])
def test_dynamic(num_positions: int) -> None:
    parameters = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    rope = RopeConfig(scaling="dynamic", factor=2.0, original_max_position=128)
    assert_same(
        rotary_tables(rope, HEAD_DIM, num_positions), theirs(num_positions, 128, parameters)
    )


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama3(factor: float) -> None:
    parameters = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128,
    }
    rope = RopeConfig(theta=500000.0, scaling="llama3", factor=factor, original_max_position=128)
    assert_same(
        rotary_tables(rope, HEAD_DIM, MAX_POSITION),
        theirs(MAX_POSITION, MAX_POSITION, parameters),
    )


@pytest.mark.parametrize("truncate", [True, False])
@pytest.mark.parametrize("attention_factor", [None, 1.25])
@pytest.mark.parametrize("factor", [1.0, 4.0])
@pytest.mark.parametrize("original", [64, 128, 32768])
def test_yarn(factor: float, attention_factor: float | None, original: int, truncate: bool) -> None:
    parameters = {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": factor,
        "original_max_position_embeddings": original,
        "truncate": truncate,
    }
    if attention_factor is not None:
        parameters["attention_factor"] = attention_factor
    rope = RopeConfig(
        scaling="yarn",
        factor=factor,
        original_max_position=original,
        truncate=truncate,
        attention_factor=attention_factor,
    )
    assert_same(
        rotary_tables(rope, HEAD_DIM, MAX_POSITION),
        theirs(MAX_POSITION, int(factor * original), parameters),
    )


def test_freq_factors_carry_llama3_scaling() -> None:
    plain = rotary_tables(RopeConfig(theta=500000.0), HEAD_DIM, 2)
    scaled_rope = RopeConfig(
        theta=500000.0, scaling="llama3", factor=8.0, original_max_position=128
    )
    scaled = rotary_tables(scaled_rope, HEAD_DIM, 2)
    # Row 1 of the tables holds the frequencies themselves.
    angles = [torch.atan2(tables.sin[1], tables.cos[1]) for tables in (plain, scaled)]
    factors = tuple((angles[0] / angles[1]).tolist())
    rope = RopeConfig(theta=500000.0, freq_factors=factors)
    assert_same(
        rotary_tables(rope, HEAD_DIM, MAX_POSITION),
        rotary_tables(scaled_rope, HEAD_DIM, MAX_POSITION),
    )


def test_invalid_parameters_are_named() -> None:
    with pytest.raises(UnsupportedModelError, match="odd"):
        rotary_tables(RopeConfig(), 15, 4)
    with pytest.raises(UnsupportedModelError, match="must have 32"):
        rotary_tables(RopeConfig(freq_factors=(1.0, 2.0)), HEAD_DIM, 4)
