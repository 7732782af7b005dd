"""The names of weights in Hugging Face's files, a family's layout at a time."""

from headrace.models.loaders.layout import GATE_UP, QKV, WeightLayout

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
