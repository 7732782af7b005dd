"""GGUF metadata of every family, with missing keys and unsupported features."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.config import DecoderConfig, MoeConfig, RopeConfig
from headrace.models.loaders.checkpoint import open_checkpoint
from headrace.models.loaders.gguf.config import (
    eos_token_ids,
    generation_defaults,
    read_gguf_config,
)
from headrace.models.loaders.gguf.families import GGUF_ARCHITECTURES
from headrace.models.loaders.gguf.file import GgufFile, GgufTensor
from headrace.models.rope import rotary_tables
from headrace.testing.models.tiny_families import TinyArchitecture
from headrace.testing.models.tiny_gguf import write_tiny_gguf
from headrace.testing.models.tiny_models import write_tiny_model

EMBEDDING = "token_embd.weight"


def tensor(name: str, values: torch.Tensor) -> GgufTensor:
    data = values.numpy().reshape(-1).view(np.uint8)
    return GgufTensor(name, "F32", tuple(values.shape), data)


def file(*tensors: GgufTensor, architecture: str = "llama", **changes: Any) -> GgufFile:
    """Keyword arguments are keys of the architecture, with __ for a dot; None omits one."""
    own = {
        "embedding_length": 64,
        "feed_forward_length": 128,
        "block_count": 2,
        "context_length": 4096,
        "attention.head_count": 4,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    metadata = {f"{architecture}.{key}": value for key, value in own.items() if value is not None}
    found = [tensor(EMBEDDING, torch.zeros(10, 64)), *tensors]
    return GgufFile(
        Path("test.gguf"),
        {"general.architecture": architecture, **metadata},
        {each.name: each for each in found},
    )


def test_missing_keys_have_defaults() -> None:
    assert read_gguf_config(file()) == DecoderConfig(
        architecture="llama",
        vocab_size=10,
        hidden_size=64,
        intermediate_size=128,
        num_layers=2,
        num_heads=4,
        num_kv_heads=4,
        head_dim=16,
        max_position=4096,
        tie_word_embeddings=True,
    )


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3"])
def test_same_as_config_json(architecture: TinyArchitecture, tmp_path: Path) -> None:
    theirs = open_checkpoint(write_tiny_model(tmp_path / "hf", architecture)).config
    ours = open_checkpoint(write_tiny_gguf(tmp_path / "m.gguf", architecture)).config
    names = [name for name in DecoderConfig.__dataclass_fields__ if name != "architecture"]
    for name in names:
        expected = getattr(theirs, name)
        approximate = isinstance(expected, float)  # GGUF's floats are of 32 bits
        assert getattr(ours, name) == (pytest.approx(expected) if approximate else expected), name


def test_llama3_scaling_is_read_from_rope_factors(tmp_path: Path) -> None:
    theirs = open_checkpoint(write_tiny_model(tmp_path / "hf", "llama3")).config
    ours = open_checkpoint(write_tiny_gguf(tmp_path / "m.gguf", "llama3")).config
    assert ours.rope.scaling == "none"
    assert ours.rope.freq_factors is not None
    expected = rotary_tables(theirs.rope, theirs.head_dim, 512)
    found = rotary_tables(ours.rope, ours.head_dim, 512)
    torch.testing.assert_close(found.cos, expected.cos, atol=1e-4, rtol=0)


def test_biases_and_output_layer_are_detected_from_tensors() -> None:
    found = read_gguf_config(
        file(
            tensor("blk.0.attn_q.bias", torch.zeros(64)),
            tensor("output.weight", torch.zeros(10, 64)),
        )
    )
    assert found.qkv_bias
    assert not found.attention_output_bias
    assert not found.tie_word_embeddings


def test_linear_scaling_in_both_shapes() -> None:
    expected = RopeConfig(scaling="linear", factor=4.0)
    new = file(rope__scaling__type="linear", rope__scaling__factor=4.0)
    assert read_gguf_config(new).rope == expected
    assert read_gguf_config(file(rope__scale_linear=4.0)).rope == expected
    assert read_gguf_config(file(rope__scale_linear=1.0)).rope == RopeConfig()


def test_yarn() -> None:
    scaled: dict[str, Any] = {
        "rope__scaling__type": "yarn",
        "rope__scaling__factor": 4.0,
        "rope__scaling__original_context_length": 1024,
        "rope__freq_base": 1e6,
    }
    expected = RopeConfig(theta=1e6, scaling="yarn", factor=4.0, original_max_position=1024)
    assert read_gguf_config(file(architecture="qwen2", **scaled)).rope == expected
    stronger = read_gguf_config(file(**scaled, rope__scaling__attn_factor=1.0)).rope
    plain = rotary_tables(expected, 16, 8)
    torch.testing.assert_close(rotary_tables(stronger, 16, 8).cos, plain.cos)


def test_all_end_token_keys_are_read() -> None:
    found = file()
    metadata = {
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.eot_token_id": 5,
        "tokenizer.ggml.eom_token_id": 6,
        "tokenizer.ggml.bos_token_id": 1,
        "general.sampling.temp": 0.7,
        "general.sampling.top_k": 20,
    }
    found = GgufFile(found.path, {**found.metadata, **metadata}, found.tensors)
    assert eos_token_ids(found) == {2, 5, 6}
    assert generation_defaults(found) == {"temperature": 0.7, "top_k": 20}


def test_end_of_turn_tokens_are_recognized_by_text() -> None:
    tokens = ["a", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "</s>", "<|im_start|>", "<|end|>"]
    control, normal, user_defined = 3, 1, 4
    types = [control, control, control, control, normal, control, user_defined]
    metadata = {
        "tokenizer.ggml.eos_token_id": 5,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
    }
    found = GgufFile(Path("m.gguf"), metadata, {})
    assert eos_token_ids(found) == {5, 1, 2, 3}
    del metadata["tokenizer.ggml.token_type"]  # without types there are no control tokens
    assert eos_token_ids(found) == {5}


def test_an_unknown_architecture_is_an_error_that_lists_known_ones() -> None:
    with pytest.raises(UnsupportedModelError, match="mamba") as caught:
        read_gguf_config(file(architecture="mamba"))
    assert all(name in str(caught.value) for name in GGUF_ARCHITECTURES)


def test_experts_of_a_family_without_them_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="mixture of experts"):
        read_gguf_config(file(architecture="qwen3", expert_count=8, expert_used_count=2))


def test_mixtral() -> None:
    router = tensor("blk.0.ffn_gate_inp.weight", torch.zeros(8, 64))
    found = read_gguf_config(file(router, expert_count=8, expert_used_count=2))
    assert found.moe == MoeConfig(
        num_experts=8, experts_per_token=2, intermediate_size=128, dense_layers=(1,)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope__dimension_count": 8}, "rotates 8 of each head's 16"),
        ({"attention__value_length": 8}, "heads of values"),
        ({"expert_count": 8, "expert_gating_func": 2}, "mixture of experts"),
        ({"expert_count": 8, "expert_weights_scale": 2.5}, "mixture of experts"),
        ({"attention__head_count_kv": [4, 2]}, "in every layer"),
        ({"rope__scaling__type": "longrope"}, "'longrope'"),
    ],
)
def test_unsupported_features_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        read_gguf_config(file(**changes))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (file(block_count=None), "does not say 'block_count'"),
        (file(attention__head_count_kv=3), "share evenly"),
        (file(rope__scaling__type="yarn", rope__scaling__factor=0.0), "stretches its context by 0"),
        (file(rope__scaling__type="linear", rope__scaling__factor=-2.0), "by -2"),
        (file(tensor(EMBEDDING, torch.zeros(10))), "no embedding"),
        (file(tensor("rope_freqs.weight", torch.ones(5))), r"\[5\] and should have \[8\]"),
    ],
)
def test_invalid_values_are_named(found: GgufFile, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_gguf_config(found)


def test_layers_of_gemma3() -> None:
    found = read_gguf_config(
        file(architecture="gemma3", block_count=12, attention__sliding_window=512)
    )
    assert [layer for layer in range(12) if found.window_of(layer) is None] == [5, 11]
    assert found.rope_of(0) == RopeConfig(theta=10000.0)
    assert found.embedding_scale == 8.0


@pytest.mark.parametrize(("architecture", "num_layers"), [("gemma2", 46), ("gemma3", 62)])
def test_only_the_largest_gemma_scales_scores_otherwise(architecture: str, num_layers: int) -> None:
    heads: dict[str, Any] = {"attention__key_length": 32}
    large = read_gguf_config(file(architecture=architecture, block_count=num_layers, **heads))
    assert large.score_scale == 0.25  # of 64 / 4
    small = read_gguf_config(file(architecture=architecture, block_count=26, **heads))
    assert small.score_scale is None


def test_a_window_of_zero_is_none() -> None:
    found = read_gguf_config(file(architecture="phi3", attention__sliding_window=0))
    assert found.sliding_window is None


def test_heads_that_are_rotated_in_part() -> None:
    found = read_gguf_config(file(architecture="gptneox", rope__dimension_count=4))
    assert found.rope == RopeConfig(rotary_dim=4)
    assert found.parallel_residual
