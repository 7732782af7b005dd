"""The names of weights in Hugging Face's files, a family's layout at a time."""

from headrace.models.loaders.layout import EXPERTS, GATE_UP, QKV, WeightLayout

_ATTENTION = {f"self_attn.{name}_proj": f"self_attn.{name}_proj" for name in "qkvo"}
_QK_NORM = {f"self_attn.{name}_norm": f"self_attn.{name}_norm" for name in "qk"}
_NORMS = {name: name for name in ("input_layernorm", "post_attention_layernorm")}
_GATED = {f"mlp.{name}_proj": f"mlp.{name}_proj" for name in ("gate", "up", "down")}
_OUTER = {"embed_tokens": "model.embed_tokens", "norm": "model.norm", "lm_head": "lm_head"}
_LLAMA = {**_ATTENTION, **_QK_NORM, **_NORMS, **_GATED}
_SANDWICH = {
    **_LLAMA,
    "post_attention_layernorm": "attention_output_norm",
    "pre_feedforward_layernorm": "post_attention_layernorm",
    "post_feedforward_layernorm": "mlp_output_norm",
}

LLAMA = WeightLayout(outer=_OUTER, inner=_LLAMA)
COHERE = WeightLayout(outer=_OUTER, inner=_LLAMA, interleaved_rotary=True)
GEMMA2 = WeightLayout(outer=_OUTER, inner=_SANDWICH)
GEMMA3_WITH_IMAGES = WeightLayout(
    prefixes=("language_model.model.", "model.language_model.", "language_model."),
    outer=_OUTER,
    inner=_SANDWICH,
)
OLMO2 = WeightLayout(
    outer=_OUTER,
    inner={
        **_ATTENTION,
        **_QK_NORM,
        **_GATED,
        "post_attention_layernorm": "attention_output_norm",
        "post_feedforward_layernorm": "mlp_output_norm",
    },
)
PHI3 = WeightLayout(
    outer=_OUTER,
    inner={**_LLAMA, "self_attn.qkv_proj": QKV, "mlp.gate_up_proj": GATE_UP},
)
STABLELM = WeightLayout(
    outer=_OUTER,
    inner=_LLAMA,
    stacked={f"self_attn.{name}_layernorm.norms": f"self_attn.{name}_norm" for name in "qk"},
)
STARCODER2 = WeightLayout(
    outer=_OUTER,
    inner={
        **_ATTENTION,
        **_NORMS,
        "mlp.c_fc": "mlp.up_proj",
        "mlp.c_proj": "mlp.down_proj",
    },
)
PHI = WeightLayout(
    outer={**_OUTER, "final_layernorm": "model.norm"},
    inner={
        **_ATTENTION,
        **_NORMS,
        "self_attn.dense": "self_attn.o_proj",
        "mlp.fc1": "mlp.up_proj",
        "mlp.fc2": "mlp.down_proj",
    },
)
OPT = WeightLayout(
    prefixes=("model.decoder.", "decoder."),
    outer={
        "embed_tokens": "model.embed_tokens",
        "embed_positions": "model.embed_positions",
        "final_layer_norm": "model.norm",
        "lm_head": "lm_head",
    },
    inner={
        **_ATTENTION,
        "self_attn.out_proj": "self_attn.o_proj",
        "self_attn_layer_norm": "input_layernorm",
        "final_layer_norm": "post_attention_layernorm",
        "fc1": "mlp.up_proj",
        "fc2": "mlp.down_proj",
    },
    position_offset=2,
)
GPT_NEOX = WeightLayout(
    prefixes=("gpt_neox.",),
    outer={
        "embed_in": "model.embed_tokens",
        "final_layer_norm": "model.norm",
        "embed_out": "lm_head",
        "lm_head": "lm_head",
    },
    inner={
        **_NORMS,
        "attention.query_key_value": QKV,
        "attention.dense": "self_attn.o_proj",
        "mlp.dense_h_to_4h": "mlp.up_proj",
        "mlp.dense_4h_to_h": "mlp.down_proj",
    },
    qkv_by_head=True,
)
GPT2 = WeightLayout(
    prefixes=("transformer.",),
    layers="h",
    outer={
        "wte": "model.embed_tokens",
        "wpe": "model.embed_positions",
        "ln_f": "model.norm",
        "lm_head": "lm_head",
    },
    inner={
        "ln_1": "input_layernorm",
        "attn.c_attn": QKV,
        "attn.c_proj": "self_attn.o_proj",
        "ln_2": "post_attention_layernorm",
        "mlp.c_fc": "mlp.up_proj",
        "mlp.c_proj": "mlp.down_proj",
    },
    transposed=True,
)

_STACKED_EXPERTS = {
    f"mlp.experts.{name}": f"{EXPERTS}{name}.weight" for name in ("gate_up_proj", "down_proj")
}
"""As transformers has them in memory."""
QWEN_MOE = WeightLayout(
    outer=_OUTER,
    inner={
        **_LLAMA,
        "mlp.gate": "mlp.router",
        **{
            f"mlp.{expert}.{name}_proj": f"mlp.{expert}.{name}_proj"
            for expert in ("experts.*", "shared_expert")
            for name in ("gate", "up", "down")
        },
        "mlp.shared_expert_gate": "mlp.shared_expert_gate",
    },
    bare=_STACKED_EXPERTS,
)
MIXTRAL = WeightLayout(
    outer=_OUTER,
    inner={
        **_LLAMA,
        "mlp.gate": "mlp.router",
        "block_sparse_moe.gate": "mlp.router",
        "block_sparse_moe.experts.*.w1": f"{EXPERTS}gate_proj",
        "block_sparse_moe.experts.*.w2": f"{EXPERTS}down_proj",
        "block_sparse_moe.experts.*.w3": f"{EXPERTS}up_proj",
    },
    bare=_STACKED_EXPERTS,
)
GRANITE_MOE = WeightLayout(
    outer=_OUTER,
    inner={
        **_LLAMA,
        "block_sparse_moe.router": "mlp.router",
        "block_sparse_moe.router.layer": "mlp.router",
        "block_sparse_moe.input_linear": f"{EXPERTS}gate_up_proj",
        "block_sparse_moe.output_linear": f"{EXPERTS}down_proj",
    },
    bare={
        name.replace("mlp.", "block_sparse_moe."): weight
        for name, weight in _STACKED_EXPERTS.items()
    },
)
GPT_OSS = WeightLayout(
    outer=_OUTER,
    inner={**_LLAMA, "mlp.router": "mlp.router"},
    bare={
        **_STACKED_EXPERTS,
        "self_attn.sinks": "self_attn.sinks.weight",
        "mlp.experts.gate_up_proj_bias": f"{EXPERTS}gate_up_proj.bias",
        "mlp.experts.down_proj_bias": f"{EXPERTS}down_proj.bias",
    },
    transposed_experts=True,
    interleaved_gate_up=True,
)
