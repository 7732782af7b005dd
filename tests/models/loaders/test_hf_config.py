"""config.json of every family, in the old and the new shapes."""

from typing import Any

import pytest

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.config import RopeConfig
from headrace.models.loaders.hf_config import read_hf_config
from headrace.models.loaders.hf_families import HF_ARCHITECTURES

LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def config(architecture: str = "LlamaForCausalLM", **changes: Any) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "vocab_size": 1000,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        **changes,
    }


def test_llama() -> None:
    found = read_hf_config(config(rms_norm_eps=1e-5))
    assert found.architecture == "LlamaForCausalLM"
    assert (found.num_layers, found.num_heads, found.num_kv_heads, found.head_dim) == (4, 4, 2, 16)
    assert (found.norm_eps, found.max_position) == (1e-5, 4096)
    assert found.rope == RopeConfig()
    flags = [found.qkv_bias, found.mlp_bias, found.qk_norm, found.tie_word_embeddings]
    assert not any(flags)
    assert found.sliding_window is None


def test_llama_ignores_a_window_and_reads_its_biases() -> None:
    found = read_hf_config(config(sliding_window=7, attention_bias=True, mlp_bias=True))
    assert found.sliding_window is None
    assert found.qkv_bias
    assert found.attention_output_bias
    assert found.mlp_bias


def test_without_grouped_queries_there_is_a_kv_head_per_head() -> None:
    assert read_hf_config(config(num_key_value_heads=None)).num_kv_heads == 4


@pytest.mark.parametrize(
    "shape",
    [
        {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}},
    ],
    ids=["old", "new"],
)
def test_llama3_scaling_in_both_shapes(shape: dict[str, Any]) -> None:
    assert read_hf_config(config(**shape)).rope == RopeConfig(
        theta=5e5, scaling="llama3", factor=8.0, original_max_position=8192
    )


def test_linear_and_dynamic_in_the_oldest_shape() -> None:
    linear = read_hf_config(config(rope_scaling={"type": "linear", "factor": 2}))
    assert linear.rope == RopeConfig(scaling="linear", factor=2.0)
    assert linear.max_position == 4096
    dynamic = read_hf_config(config(rope_scaling={"type": "dynamic", "factor": 2.0}))
    assert dynamic.rope == RopeConfig(scaling="dynamic", factor=2.0, original_max_position=4096)
    assert dynamic.max_position == 8192


def test_yarn() -> None:
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
    found = read_hf_config(config("Qwen2ForCausalLM", rope_theta=1e6, rope_scaling=scaling))
    expected = RopeConfig(theta=1e6, scaling="yarn", factor=4.0, original_max_position=4096)
    assert found.rope == expected
    assert found.max_position == 4 * 4096
    scaling |= {"attention_factor": 1.5, "beta_fast": 16}
    rope = read_hf_config(config(rope_scaling=scaling)).rope
    assert (rope.attention_factor, rope.beta_fast) == (1.5, 16.0)


def test_rope_parameters_in_the_new_shape() -> None:
    parameters = {"rope_type": "default", "rope_theta": 1e6}
    assert read_hf_config(config(rope_parameters=parameters)).rope == RopeConfig(theta=1e6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"sliding_window": 99}, 99), ({"sliding_window": None}, None), ({}, 4096)],
)
def test_mistral_has_a_sliding_window_unless_null(
    changes: dict[str, Any], expected: int | None
) -> None:
    found = read_hf_config(config("MistralForCausalLM", head_dim=32, **changes))
    assert found.sliding_window == expected
    assert found.sliding_window_layers == ()
    assert found.head_dim == 32


def test_qwen2_has_biases_and_an_optional_window() -> None:
    found = read_hf_config(config("Qwen2ForCausalLM", sliding_window=99))
    assert found.qkv_bias
    assert not found.attention_output_bias
    assert found.sliding_window is None


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({"max_window_layers": 3}, [None, None, None, 99]),
        ({"max_window_layers": 0}, [99, 99, 99, 99]),
        ({"max_window_layers": 4}, [None] * 4),
        ({"layer_types": ["sliding_attention", *["full_attention"] * 3]}, [99, None, None, None]),
    ],
)
def test_the_window_of_each_layer(changes: dict[str, Any], windows: list[int | None]) -> None:
    asked = {"use_sliding_window": True, "sliding_window": 99}
    found = read_hf_config(config("Qwen2ForCausalLM", **asked, **changes))
    assert [found.window_of(layer) for layer in range(4)] == windows


def test_qwen3_norms_heads_of_128() -> None:
    found = read_hf_config(config("Qwen3ForCausalLM"))
    assert found.qk_norm == "rms_head"
    assert found.head_dim == 128
    assert not found.qkv_bias


def test_an_unknown_architecture_is_an_error_that_lists_known_ones() -> None:
    with pytest.raises(UnsupportedModelError, match="GptOssForCausalLM") as caught:
        read_hf_config(config("GptOssForCausalLM"))
    assert all(name in str(caught.value) for name in HF_ARCHITECTURES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantization_config": {"quant_method": "awq"}}, "'awq'"),
        ({"quantization_config": {"bits": 4}}, "'unnamed'"),
        ({"quantization_config": "mxfp4"}, "'mxfp4'"),
        ({"hidden_act": "mish"}, "'mish'"),
        ({"rope_scaling": {"type": "proportional", "factor": 2.0}}, "'proportional'"),
        ({"partial_rotary_factor": 0.5}, "50% of each head"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "kinds of layers"),
    ],
)
def test_unsupported_features_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        read_hf_config(config(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": None}, "does not say 'vocab_size'"),
        ({"num_hidden_layers": "four"}, "'num_hidden_layers': 'four'"),
        ({"hidden_size": -64}, "positive whole number"),
        ({"num_key_value_heads": 3}, "share evenly"),
        ({"hidden_size": 65}, "does not divide"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling does not say 'factor'"),
        ({"architectures": None}, "neither 'architectures' nor"),
    ],
)
def test_invalid_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        read_hf_config(config(**changes))
