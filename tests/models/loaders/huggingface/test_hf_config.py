"""config.json of every family, in the old and the new shapes."""

from typing import Any

import pytest

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.config import MoeConfig, RopeConfig
from headrace.models.loaders.huggingface.config import read_hf_config
from headrace.models.loaders.huggingface.families import HF_ARCHITECTURES

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
    with pytest.raises(UnsupportedModelError, match="MambaForCausalLM") as caught:
        read_hf_config(config("MambaForCausalLM"))
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


def test_gpt2_with_the_keys_of_its_first_files() -> None:
    found = read_hf_config(
        {
            "architectures": ["GPT2LMHeadModel"],
            "vocab_size": 50257,
            "n_embd": 768,
            "n_head": 12,
            "n_layer": 12,
            "n_positions": 1024,
            "n_ctx": 1024,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new",
        }
    )
    assert (found.hidden_size, found.intermediate_size, found.num_kv_heads) == (768, 3072, 12)
    assert (found.norm, found.norm_bias, found.gated_mlp) == ("layer", True, False)
    assert found.activation == "gelu_tanh"
    assert found.rope is None
    assert found.rope_of(0) is None
    assert found.learned_positions
    assert found.tie_word_embeddings
    assert found.qkv_bias
    assert found.attention_output_bias
    assert found.mlp_bias


def test_pythia_with_the_keys_of_its_first_files() -> None:
    found = read_hf_config(
        config(
            "GPTNeoXForCausalLM", rotary_pct=0.5, rotary_emb_base=20000, num_key_value_heads=None
        )
    )
    assert found.rope == RopeConfig(theta=20000.0, rotary_dim=8)
    assert found.rotary_dim == 8
    assert found.parallel_residual
    assert not found.shared_norm


def test_gemma3_in_a_model_with_images() -> None:
    text = config(sliding_window=1024, rope_scaling={"factor": 8.0, "rope_type": "linear"})
    del text["architectures"], text["vocab_size"], text["max_position_embeddings"]
    text["num_hidden_layers"] = 12
    values = {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": text}
    found = read_hf_config(values)
    assert (found.vocab_size, found.max_position, found.head_dim) == (262208, 131072, 256)
    full = [layer for layer in range(12) if found.window_of(layer) is None]
    assert full == [5, 11]
    assert found.rope_of(5) == RopeConfig(theta=1e6, scaling="linear", factor=8.0)
    assert found.rope_of(0) == RopeConfig(theta=10000.0)
    assert found.embedding_scale == 8.0
    assert found.score_scale == 1 / 16


def test_phi3_of_long_contexts_in_the_older_shape() -> None:
    scaling = {"type": "su", "short_factor": [1.0] * 8, "long_factor": [2] * 8}
    found = read_hf_config(
        config(
            "Phi3ForCausalLM",
            max_position_embeddings=131072,
            original_max_position_embeddings=4096,
            rope_scaling=scaling,
            sliding_window=262144,
        )
    )
    assert found.rope is not None
    assert (found.rope.scaling, found.rope.factor) == ("longrope", 32.0)
    assert found.rope.original_max_position == 4096
    assert found.rope.long_factors == (2.0,) * 8
    assert found.max_position == 131072


def test_layers_without_rotation() -> None:
    smollm3 = read_hf_config(config("SmolLM3ForCausalLM", num_hidden_layers=8))
    assert smollm3.unrotated_layers == (3, 7)
    listed = read_hf_config(config("SmolLM3ForCausalLM", no_rope_layers=[1, 0, 0, 1]))
    assert listed.unrotated_layers == (1, 2)
    cohere2 = read_hf_config(config("Cohere2ForCausalLM", num_hidden_layers=8))
    assert cohere2.unrotated_layers == (3, 7)
    assert [cohere2.window_of(layer) for layer in (2, 3)] == [4096, None]


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        ("OPTForCausalLM", {"ffn_dim": 128, "word_embed_proj_dim": 32}, "32 dimensions"),
        ("OPTForCausalLM", {"ffn_dim": 128, "do_layer_norm_before": False}, "do_layer_norm_before"),
        ("PhiForCausalLM", {"qk_layernorm": True}, "qk_layernorm"),
        ("OlmoeForCausalLM", {"clip_qkv": 8.0}, "clip_qkv"),
        ("Qwen3MoeForCausalLM", {"use_sliding_window": True}, "use_sliding_window"),
        ("GptOssForCausalLM", {"swiglu_limit": 5.0}, "swiglu_limit"),
        ("GptOssForCausalLM", {"quantization_config": {"quant_method": "awq"}}, "'awq'"),
        ("GPT2LMHeadModel", {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer"),
    ],
)
def test_variants_of_families_that_are_not_computed(
    architecture: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        read_hf_config(config(architecture, **changes))


def test_qwen3_moe_with_the_keys_of_its_files() -> None:
    found = read_hf_config(
        config(
            "Qwen3MoeForCausalLM",
            num_experts=16,
            num_experts_per_tok=4,
            moe_intermediate_size=24,
            norm_topk_prob=True,
            mlp_only_layers=[2],
            decoder_sparse_step=1,
            sliding_window=None,
            head_dim=32,
        )
    )
    assert found.moe == MoeConfig(
        num_experts=16, experts_per_token=4, intermediate_size=24, dense_layers=(2,)
    )
    assert [found.moe_of(layer) is None for layer in range(4)] == [False, False, True, False]


def test_gpt_oss_with_the_keys_of_its_files() -> None:
    scaling = {"rope_type": "yarn", "factor": 32.0, "truncate": False, "beta_fast": 32.0}
    found = read_hf_config(
        config(
            "GptOssForCausalLM",
            num_local_experts=32,
            num_experts_per_tok=4,
            attention_bias=True,
            rope_theta=150000,
            rope_scaling={**scaling, "original_max_position_embeddings": 4096},
            max_position_embeddings=131072,
            quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": []},
        )
    )
    assert found.rope == RopeConfig(
        theta=150000.0, scaling="yarn", factor=32.0, original_max_position=4096, truncate=False
    )
    assert [found.window_of(layer) for layer in range(4)] == [128, None, 128, None]
    assert found.moe is not None
    assert (found.moe.bias, found.moe.router_bias, found.moe.normalized) == (True, True, True)
    assert (found.qkv_bias, found.attention_output_bias, found.attention_sinks) == (True,) * 3
    assert found.head_dim == 64
    assert found.max_position == 131072


@pytest.mark.parametrize(
    "changes",
    [
        {"num_local_experts": 2, "num_experts_per_tok": 3},
        {"num_local_experts": 10**12},
        {"num_local_experts": 0},
        {"num_experts_per_tok": "two"},
    ],
)
def test_numbers_of_experts_that_make_no_sense(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError):
        read_hf_config(config("MixtralForCausalLM", **changes))


@pytest.mark.parametrize("share", [0.0, 0.3, 2.0])
def test_a_share_of_a_head_that_is_no_number_of_pairs(share: float) -> None:
    with pytest.raises(ModelFileError, match="no number of pairs"):
        read_hf_config(config("PhiForCausalLM", hidden_size=40, partial_rotary_factor=share))


@pytest.mark.parametrize("architecture", HF_ARCHITECTURES)
def test_a_damaged_number_of_layers_takes_no_memory(architecture: str) -> None:
    layers = {"num_hidden_layers": 10**12, "n_layer": 10**12, "use_sliding_window": True}
    sizes = {"n_embd": 64, "n_head": 4, "ffn_dim": 128, "sliding_window": 99}
    row = HF_ARCHITECTURES[architecture]
    values = config(architecture, **{**layers, **sizes, **row.requires})
    if row.nested_under is not None:
        values[row.nested_under] = {"num_hidden_layers": 10**12}
    assert read_hf_config(values).num_layers == 10**12
