"""The families that we read from Hugging Face's files: one row per class of transformers.

A family that DecoderConfig can describe needs a row here, and nothing else.
"""

import math
from collections.abc import Mapping
from typing import Any

from headrace.core.errors import UnsupportedModelError
from headrace.models.loaders.architectures import Fields, HfArchitecture, unsupported
from headrace.models.loaders.huggingface import layouts
from headrace.models.loaders.huggingface.moe_families import MOE_ARCHITECTURES
from headrace.models.loaders.huggingface.shared_fields import ATTENTION_BIAS, granite_scales
from headrace.models.loaders.metadata import Metadata

_LAYER_NORM: Fields = {"norm": "layer", "norm_bias": True}
_ALL_BIASES: Fields = {"qkv_bias": True, "attention_output_bias": True, "mlp_bias": True}
_GPT_LIKE: Fields = {**_LAYER_NORM, "gated_mlp": False}


def _gemma(config: Metadata) -> Fields:
    return {"embedding_scale": math.sqrt(config.integer("hidden_size"))}


def _gemma2(config: Metadata) -> Fields:
    return {
        **_gemma(config),
        "score_scale": 1.0 / math.sqrt(config.number("query_pre_attn_scalar")),
        "score_softcap": config.optional_number("attn_logit_softcapping"),
        "logit_softcap": config.optional_number("final_logit_softcapping"),
    }


def _cohere(config: Metadata) -> Fields:
    return {
        "logit_scale": config.number("logit_scale"),
        "qk_norm": "layer_head" if config.flag("use_qk_norm") else None,
    }


def _stablelm(config: Metadata) -> Fields:
    return {"qk_norm": "layer_head" if config.flag("qk_layernorm") else None}


def _opt(config: Metadata) -> Fields:
    hidden_size = config.integer("hidden_size")
    width = config.integer("word_embed_proj_dim", hidden_size)
    if width != hidden_size:
        raise UnsupportedModelError(
            f"The model's embeddings have {width} dimensions and its layers {hidden_size}, which "
            "Headrace does not compute. Choose another size of the model."
        )
    return {}


_GEMMA2_DEFAULTS: Mapping[str, Any] = {
    "max_position_embeddings": 8192,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "tie_word_embeddings": True,
}
_GEMMA2_FIXED: Fields = {"norm_weight_offset": 1.0, "norm_place": "both"}
_GEMMA3_DEFAULTS: Mapping[str, Any] = {
    **_GEMMA2_DEFAULTS,
    "max_position_embeddings": 131072,
    "rope_theta": 1e6,
}
_GEMMA3_FIXED: Fields = {**_GEMMA2_FIXED, "qk_norm": "rms_head"}
_COHERE_DEFAULTS: Mapping[str, Any] = {
    "max_position_embeddings": 8192,
    "logit_scale": 0.0625,
    "tie_word_embeddings": True,
}
_COHERE_FIXED: Fields = {"norm": "layer", "parallel_residual": True, "shared_norm": True}
_LAYER_NORM_EPS = {"rms_norm_eps": "layer_norm_eps"}

HF_ARCHITECTURES: Mapping[str, HfArchitecture] = {
    "LlamaForCausalLM": HfArchitecture(
        layout=layouts.LLAMA,
        defaults={"max_position_embeddings": 2048},
        flags={**ATTENTION_BIAS, "mlp_bias": "mlp_bias"},
    ),
    "MistralForCausalLM": HfArchitecture(
        layout=layouts.LLAMA,
        defaults={
            "max_position_embeddings": 131072,
            "num_key_value_heads": 8,
            "sliding_window": 4096,
        },
        sliding_window="always",
    ),
    "Qwen2ForCausalLM": HfArchitecture(
        layout=layouts.LLAMA,
        defaults={
            "max_position_embeddings": 32768,
            "num_key_value_heads": 32,
            "sliding_window": 4096,
            "max_window_layers": 28,
        },
        fixed={"qkv_bias": True},
        sliding_window="if asked",
    ),
    "Qwen3ForCausalLM": HfArchitecture(
        layout=layouts.LLAMA,
        defaults={
            "max_position_embeddings": 32768,
            "num_key_value_heads": 32,
            "head_dim": 128,
            "sliding_window": 4096,
            "max_window_layers": 28,
        },
        fixed={"qk_norm": "rms_head"},
        flags=ATTENTION_BIAS,
        sliding_window="if asked",
    ),
    "GPT2LMHeadModel": HfArchitecture(
        layout=layouts.GPT2,
        defaults={
            "n_positions": 1024,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new",
            "tie_word_embeddings": True,
        },
        aliases={
            "hidden_size": "n_embd",
            "intermediate_size": "n_inner",
            "num_hidden_layers": "n_layer",
            "num_attention_heads": "n_head",
            "max_position_embeddings": "n_positions",
            "hidden_act": "activation_function",
            "rms_norm_eps": "layer_norm_epsilon",
        },
        requires={
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        fixed={**_GPT_LIKE, **_ALL_BIASES, "learned_positions": True},
        rotated="none",
    ),
    "GemmaForCausalLM": HfArchitecture(
        layout=layouts.LLAMA,
        defaults={
            "max_position_embeddings": 8192,
            "num_key_value_heads": 16,
            "head_dim": 256,
            "tie_word_embeddings": True,
        },
        requires={"use_bidirectional_attention": False},
        fixed={"norm_weight_offset": 1.0, "activation": "gelu_tanh"},
        flags=ATTENTION_BIAS,
        derive=_gemma,
    ),
    "Gemma2ForCausalLM": HfArchitecture(
        layout=layouts.GEMMA2,
        defaults={
            **_GEMMA2_DEFAULTS,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        aliases={"hidden_act": "hidden_activation"},
        requires={"use_bidirectional_attention": False},
        fixed=_GEMMA2_FIXED,
        flags=ATTENTION_BIAS,
        derive=_gemma2,
        sliding_window="by layer",
        window_pattern=2,
    ),
    "Gemma3ForCausalLM": HfArchitecture(
        layout=layouts.GEMMA2,
        defaults=_GEMMA3_DEFAULTS,
        aliases={"hidden_act": "hidden_activation"},
        requires={"use_bidirectional_attention": False},
        fixed=_GEMMA3_FIXED,
        flags=ATTENTION_BIAS,
        derive=_gemma2,
        sliding_window="by layer",
        window_pattern=6,
        window_theta=10000.0,
    ),
    "Gemma3ForConditionalGeneration": HfArchitecture(
        layout=layouts.GEMMA3_WITH_IMAGES,
        defaults={**_GEMMA3_DEFAULTS, "vocab_size": 262208},
        aliases={"hidden_act": "hidden_activation"},
        requires={"use_bidirectional_attention": False},
        fixed=_GEMMA3_FIXED,
        flags=ATTENTION_BIAS,
        derive=_gemma2,
        sliding_window="by layer",
        window_pattern=6,
        window_theta=10000.0,
        nested_under="text_config",
    ),
    "Phi3ForCausalLM": HfArchitecture(
        layout=layouts.PHI3,
        defaults={"max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
        sliding_window="always",
        rotary_share=1.0,
    ),
    "OPTForCausalLM": HfArchitecture(
        layout=layouts.OPT,
        defaults={
            "max_position_embeddings": 2048,
            "activation_function": "relu",
            "rms_norm_eps": 1e-5,
            "enable_bias": True,
            "tie_word_embeddings": True,
        },
        aliases={"intermediate_size": "ffn_dim", "hidden_act": "activation_function"},
        requires={
            "do_layer_norm_before": True,
            "_remove_final_layer_norm": False,
            "layer_norm_elementwise_affine": True,
        },
        fixed={**_GPT_LIKE, "learned_positions": True},
        flags={
            "qkv_bias": "enable_bias",
            "attention_output_bias": "enable_bias",
            "mlp_bias": "enable_bias",
        },
        derive=_opt,
        rotated="none",
    ),
    "GPTNeoXForCausalLM": HfArchitecture(
        layout=layouts.GPT_NEOX,
        defaults={
            "max_position_embeddings": 2048,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "attention_bias": True,
            "use_parallel_residual": True,
        },
        aliases={
            **_LAYER_NORM_EPS,
            "rope_theta": "rotary_emb_base",
            "partial_rotary_factor": "rotary_pct",
        },
        fixed={**_GPT_LIKE, "mlp_bias": True},
        flags={**ATTENTION_BIAS, "parallel_residual": "use_parallel_residual"},
        rotary_share=0.25,
    ),
    "PhiForCausalLM": HfArchitecture(
        layout=layouts.PHI,
        defaults={
            "max_position_embeddings": 2048,
            "hidden_act": "gelu_new",
            "layer_norm_eps": 1e-5,
        },
        aliases=_LAYER_NORM_EPS,
        requires={"qk_layernorm": False},
        fixed={
            **_GPT_LIKE,
            **_ALL_BIASES,
            "parallel_residual": True,
            "shared_norm": True,
            "output_bias": True,
        },
        rotary_share=0.5,
    ),
    "Olmo2ForCausalLM": HfArchitecture(
        layout=layouts.OLMO2,
        defaults={"max_position_embeddings": 2048, "rms_norm_eps": 1e-5},
        fixed={"norm_place": "after", "qk_norm": "rms_row"},
        flags=ATTENTION_BIAS,
    ),
    "GraniteForCausalLM": HfArchitecture(
        layout=layouts.LLAMA,
        defaults={"max_position_embeddings": 2048},
        flags={**ATTENTION_BIAS, "mlp_bias": "mlp_bias"},
        derive=granite_scales,
    ),
    "SmolLM3ForCausalLM": HfArchitecture(
        layout=layouts.LLAMA,
        defaults={
            "max_position_embeddings": 32768,
            "num_key_value_heads": 4,
            "rope_theta": 2e6,
            "no_rope_layer_interval": 4,
            "tie_word_embeddings": True,
        },
        flags={**ATTENTION_BIAS, "mlp_bias": "mlp_bias"},
        sliding_window="if asked",
        rotated="listed",
    ),
    "StableLmForCausalLM": HfArchitecture(
        layout=layouts.STABLELM,
        defaults={
            "max_position_embeddings": 4096,
            "num_key_value_heads": 32,
            "layer_norm_eps": 1e-5,
        },
        aliases=_LAYER_NORM_EPS,
        fixed=_LAYER_NORM,
        flags={
            "qkv_bias": "use_qkv_bias",
            "parallel_residual": "use_parallel_residual",
            "shared_norm": "use_parallel_residual",
        },
        derive=_stablelm,
        rotary_share=0.25,
    ),
    "Starcoder2ForCausalLM": HfArchitecture(
        layout=layouts.STARCODER2,
        defaults={
            "max_position_embeddings": 4096,
            "num_key_value_heads": 2,
            "hidden_act": "gelu_pytorch_tanh",
            "norm_epsilon": 1e-5,
            "use_bias": True,
            "tie_word_embeddings": True,
        },
        aliases={"rms_norm_eps": "norm_epsilon"},
        fixed=_GPT_LIKE,
        flags={
            "qkv_bias": "use_bias",
            "attention_output_bias": "use_bias",
            "mlp_bias": "use_bias",
        },
        sliding_window="always",
    ),
    "CohereForCausalLM": HfArchitecture(
        layout=layouts.COHERE,
        defaults={**_COHERE_DEFAULTS, "layer_norm_eps": 1e-5, "rope_theta": 5e5},
        aliases=_LAYER_NORM_EPS,
        fixed=_COHERE_FIXED,
        flags=ATTENTION_BIAS,
        derive=_cohere,
    ),
    "Cohere2ForCausalLM": HfArchitecture(
        layout=layouts.COHERE,
        defaults={**_COHERE_DEFAULTS, "layer_norm_eps": 1e-5, "sliding_window": 4096},
        aliases=_LAYER_NORM_EPS,
        fixed=_COHERE_FIXED,
        flags=ATTENTION_BIAS,
        derive=_cohere,
        sliding_window="by layer",
        window_pattern=4,
        rotated="with window",
    ),
    **MOE_ARCHITECTURES,
}


def hf_architecture(name: str) -> HfArchitecture:
    """The row of a class name out of config.json; UnsupportedModelError if there is none."""
    if name in HF_ARCHITECTURES:
        return HF_ARCHITECTURES[name]
    raise unsupported(name, HF_ARCHITECTURES)
