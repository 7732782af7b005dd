"""The families that we read from GGUF files: one row per ``general.architecture``.

What the files leave unsaid is as in llama.cpp.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

from headrace.models.loaders.architectures import Fields, GgufArchitecture, unsupported
from headrace.models.loaders.layout import EXPERTS, GATE_UP, QKV, WeightLayout
from headrace.models.loaders.metadata import Metadata

_GATED = ("gate", "up", "down")
_LAYOUT = WeightLayout(
    prefixes=(),
    layers="blk",
    outer={
        "token_embd": "model.embed_tokens",
        "position_embd": "model.embed_positions",
        "output_norm": "model.norm",
        "output": "lm_head",
    },
    inner={
        "attn_norm": "input_layernorm",
        "attn_qkv": QKV,
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "post_attention_norm": "attention_output_norm",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "post_ffw_norm": "mlp_output_norm",
        "attn_sinks": "self_attn.sinks",
        "ffn_gate_inp": "mlp.router",
        "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
        **{f"ffn_{name}_shexp": f"mlp.shared_expert.{name}_proj" for name in _GATED},
        **{f"ffn_{name}_exps": f"{EXPERTS}{name}_proj" for name in _GATED},
        **{f"ffn_{name}.*": f"{EXPERTS}{name}_proj" for name in _GATED},  # files before 2024-04
    },
)
_INTERLEAVED = replace(_LAYOUT, interleaved_rotary=True)
_PHI3 = replace(_LAYOUT, inner={**_LAYOUT.inner, "ffn_up": GATE_UP})

_GPT_OSS = replace(
    _LAYOUT, inner={**_LAYOUT.inner, "post_attention_norm": "post_attention_layernorm"}
)

_LAYER_NORM: Fields = {"norm": "layer", "norm_bias": True}
_GPT_LIKE: Fields = {**_LAYER_NORM, "gated_mlp": False, "activation": "gelu_tanh"}
_COHERE: Fields = {"norm": "layer", "parallel_residual": True, "shared_norm": True}
_Q_NORM = "blk.0.attn_q_norm.weight"


def _gemma(config: Metadata, tensors: Collection[str]) -> Fields:
    return {"embedding_scale": math.sqrt(config.integer("embedding_length"))}


def _gemma_of(num_layers_of_27b: int, config: Metadata, tensors: Collection[str]) -> Fields:
    """Only the largest scales scores by another size than that of its heads."""
    scale = None
    if config.integer("block_count") == num_layers_of_27b:
        size = config.integer("embedding_length") // config.integer("attention.head_count")
        scale = 1.0 / math.sqrt(size)
    return {
        **_gemma(config, tensors),
        "score_scale": scale,
        "score_softcap": config.optional_number("attn_logit_softcapping"),
        "logit_softcap": config.optional_number("final_logit_softcapping"),
    }


def _gemma2(config: Metadata, tensors: Collection[str]) -> Fields:
    return _gemma_of(46, config, tensors)


def _gemma3(config: Metadata, tensors: Collection[str]) -> Fields:
    return _gemma_of(62, config, tensors)


def _gptneox(config: Metadata, tensors: Collection[str]) -> Fields:
    return {"parallel_residual": config.flag("use_parallel_residual", True)}


def _stablelm(config: Metadata, tensors: Collection[str]) -> Fields:
    parallel = "blk.0.ffn_norm.weight" not in tensors
    return {
        "parallel_residual": parallel,
        "shared_norm": parallel,
        "qk_norm": "layer_head" if _Q_NORM in tensors else None,
    }


def _granite(config: Metadata, tensors: Collection[str]) -> Fields:
    return {
        "embedding_scale": config.number("embedding_scale", 1.0),
        "score_scale": config.optional_number("attention.scale"),
        "residual_scale": config.number("residual_scale", 1.0),
        "logit_scale": 1.0 / config.number("logit_scale", 1.0),
    }


def _command_r(config: Metadata, tensors: Collection[str]) -> Fields:
    return {
        "logit_scale": config.number("logit_scale", 1.0),
        "qk_norm": "layer_head" if _Q_NORM in tensors else None,
    }


GGUF_ARCHITECTURES: Mapping[str, GgufArchitecture] = {
    "llama": GgufArchitecture(layout=_INTERLEAVED, moe={}),
    "qwen2": GgufArchitecture(layout=_LAYOUT),
    "qwen3": GgufArchitecture(layout=_LAYOUT, fixed={"qk_norm": "rms_head"}),
    "gpt2": GgufArchitecture(
        layout=_LAYOUT, fixed={**_GPT_LIKE, "rope": None, "learned_positions": True}
    ),
    "gemma": GgufArchitecture(layout=_LAYOUT, fixed={"activation": "gelu_tanh"}, derive=_gemma),
    "gemma2": GgufArchitecture(
        layout=_LAYOUT,
        fixed={"activation": "gelu_tanh", "norm_place": "both"},
        derive=_gemma2,
        window_pattern=2,
    ),
    "gemma3": GgufArchitecture(
        layout=_LAYOUT,
        fixed={"activation": "gelu_tanh", "norm_place": "both", "qk_norm": "rms_head"},
        derive=_gemma3,
        window_pattern=6,
        window_theta=10000.0,
    ),
    "phi3": GgufArchitecture(layout=_PHI3),
    "gptneox": GgufArchitecture(
        layout=_LAYOUT, fixed={**_GPT_LIKE, "activation": "gelu"}, derive=_gptneox
    ),
    "phi2": GgufArchitecture(
        layout=_LAYOUT, fixed={**_GPT_LIKE, "parallel_residual": True, "shared_norm": True}
    ),
    "olmo2": GgufArchitecture(layout=_LAYOUT, fixed={"norm_place": "after", "qk_norm": "rms_row"}),
    "granite": GgufArchitecture(layout=_INTERLEAVED, derive=_granite),
    "smollm3": GgufArchitecture(layout=_INTERLEAVED, unrotated_pattern=4),
    "stablelm": GgufArchitecture(layout=_LAYOUT, fixed=_LAYER_NORM, derive=_stablelm),
    "starcoder2": GgufArchitecture(layout=_LAYOUT, fixed=_GPT_LIKE),
    "command-r": GgufArchitecture(layout=_INTERLEAVED, fixed=_COHERE, derive=_command_r),
    "cohere2": GgufArchitecture(
        layout=_INTERLEAVED,
        fixed=_COHERE,
        derive=_command_r,
        window_pattern=4,
        unrotated_pattern=4,
    ),
    "qwen2moe": GgufArchitecture(layout=_LAYOUT, moe={"normalized": False}),
    "qwen3moe": GgufArchitecture(layout=_LAYOUT, fixed={"qk_norm": "rms_head"}, moe={}),
    "olmoe": GgufArchitecture(
        layout=_LAYOUT, fixed={"qk_norm": "rms_row"}, moe={"normalized": False}
    ),
    "granitemoe": GgufArchitecture(layout=_INTERLEAVED, derive=_granite, moe={}),
    "gpt-oss": GgufArchitecture(
        layout=_GPT_OSS,
        fixed={"activation": "clamped_swiglu", "attention_sinks": True},
        moe={"router_bias": True, "bias": True},
        yarn_truncates=False,
        window_pattern=2,
    ),
}


def gguf_architecture(name: str) -> GgufArchitecture:
    """The row of a ``general.architecture``; UnsupportedModelError if there is none."""
    if name in GGUF_ARCHITECTURES:
        return GGUF_ARCHITECTURES[name]
    raise unsupported(name, GGUF_ARCHITECTURES)
