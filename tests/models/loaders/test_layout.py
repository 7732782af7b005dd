"""Names in files and their canonical names."""

import pytest

from headrace.models.loaders.gguf.families import GGUF_ARCHITECTURES
from headrace.models.loaders.huggingface.families import HF_ARCHITECTURES
from headrace.models.loaders.layout import CanonicalName


@pytest.mark.parametrize(
    ("architecture", "stored", "canonical"),
    [
        ("LlamaForCausalLM", "model.layers.0.mlp.up_proj.weight", "layers.0.mlp.up_proj.weight"),
        ("LlamaForCausalLM", "layers.12.mlp.up_proj.weight", "layers.12.mlp.up_proj.weight"),
        ("GPT2LMHeadModel", "h.3.ln_1.bias", "layers.3.input_layernorm.bias"),
        ("GPT2LMHeadModel", "transformer.wpe.weight", "embed_positions.weight"),
        ("OPTForCausalLM", "decoder.final_layer_norm.weight", "norm.weight"),
        (
            "MixtralForCausalLM",
            "model.layers.0.block_sparse_moe.experts.17.w3.weight",
            "layers.0.mlp.experts.17.up_proj.weight",
        ),
        ("GptOssForCausalLM", "model.layers.2.self_attn.sinks", "layers.2.self_attn.sinks.weight"),
        (
            "Gemma3ForConditionalGeneration",
            "language_model.model.layers.1.pre_feedforward_layernorm.weight",
            "layers.1.post_attention_layernorm.weight",
        ),
    ],
)
def test_names_of_hugging_face(architecture: str, stored: str, canonical: str) -> None:
    layout = HF_ARCHITECTURES[architecture].layout
    assert layout.canonical(stored) == CanonicalName(f"model.{canonical}")


def test_a_tensor_of_all_experts() -> None:
    for layout, stored, part in [
        (HF_ARCHITECTURES["GptOssForCausalLM"].layout, "mlp.experts.gate_up_proj_bias", "bias"),
        (HF_ARCHITECTURES["Qwen3MoeForCausalLM"].layout, "mlp.experts.gate_up_proj", "weight"),
    ]:
        found = layout.canonical(f"model.layers.3.{stored}")
        assert found is not None
        assert found.is_every_expert
        assert found.of_expert(5) == f"model.layers.3.mlp.experts.5.gate_up_proj.{part}"


def test_mixtral_in_the_files_of_its_first_months() -> None:
    found = GGUF_ARCHITECTURES["llama"].layout.canonical("blk.1.ffn_down.7.weight")
    assert found == CanonicalName("model.layers.1.mlp.experts.7.down_proj.weight")


def test_a_norm_of_each_head_is_stacked() -> None:
    layout = HF_ARCHITECTURES["StableLmForCausalLM"].layout
    found = layout.canonical("model.layers.2.self_attn.k_layernorm.norms.7.weight")
    assert found == CanonicalName("model.layers.2.self_attn.k_norm.weight", 7)


@pytest.mark.parametrize(
    "stored",
    ["h.0.attn.bias", "h.0.attn.masked_bias", "model.layers.0.self_attn.rotary_emb.inv_freq"],
)
def test_buffers_are_not_weights(stored: str) -> None:
    assert all(row.layout.canonical(stored) is None for row in HF_ARCHITECTURES.values())


@pytest.mark.parametrize("stored", ["rope_freqs.weight", "blk.0.ssm_a"])
def test_other_tensors_of_gguf_are_not_weights(stored: str) -> None:
    assert all(row.layout.canonical(stored) is None for row in GGUF_ARCHITECTURES.values())
