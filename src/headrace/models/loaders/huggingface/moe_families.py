"""The families with mixtures of experts: rows of families.HF_ARCHITECTURES."""

from collections.abc import Mapping
from typing import Any

from headrace.core.errors import ModelFileError
from headrace.models.loaders.architectures import Fields, HfArchitecture, bounded_layers
from headrace.models.loaders.huggingface import layouts
from headrace.models.loaders.huggingface.shared_fields import ATTENTION_BIAS, granite_scales
from headrace.models.loaders.metadata import Metadata
from headrace.models.loaders.mixture import read_mixture

_PER_TOKEN = "num_experts_per_tok"


def _num_experts_key(config: Metadata) -> str:
    """transformers writes either name."""
    return "num_experts" if config.get("num_local_experts") is None else "num_local_experts"


def _mixtral(config: Metadata) -> Fields:
    size = config.integer("intermediate_size")
    key = _num_experts_key(config)
    return {"moe": read_mixture(config, key, _PER_TOKEN, intermediate_size=size)}


def _olmoe(config: Metadata) -> Fields:
    return {
        "moe": read_mixture(
            config,
            _num_experts_key(config),
            _PER_TOKEN,
            intermediate_size=config.integer("intermediate_size"),
            normalized=config.flag("norm_topk_prob"),
        )
    }


def _qwen(config: Metadata, **fields: Any) -> Fields:
    return {
        "moe": read_mixture(
            config,
            _num_experts_key(config),
            _PER_TOKEN,
            intermediate_size=config.integer("moe_intermediate_size"),
            normalized=config.flag("norm_topk_prob"),
            dense_layers=_dense_layers(config),
            **fields,
        )
    }


def _qwen2(config: Metadata) -> Fields:
    return _qwen(config, shared_size=config.integer("shared_expert_intermediate_size"))


def _granite(config: Metadata) -> Fields:
    return {**granite_scales(config), **_mixtral(config)}


def _gpt_oss(config: Metadata) -> Fields:
    return {
        "moe": read_mixture(
            config,
            _num_experts_key(config),
            _PER_TOKEN,
            intermediate_size=config.integer("intermediate_size"),
            router_bias=True,
            bias=True,
        )
    }


def _dense_layers(config: Metadata) -> tuple[int, ...]:
    listed = config.get("mlp_only_layers") or []
    if not isinstance(listed, list):
        raise ModelFileError(f"{config.where} says 'mlp_only_layers': {listed!r}, not a list.")
    step = config.integer("decoder_sparse_step", 1)
    layers = bounded_layers(config.integer("num_hidden_layers"))
    return tuple(layer for layer in layers if layer in listed or (layer + 1) % step)


_QWEN_DEFAULTS: Mapping[str, Any] = {
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
}

MOE_ARCHITECTURES: Mapping[str, HfArchitecture] = {
    "MixtralForCausalLM": HfArchitecture(
        layout=layouts.MIXTRAL,
        defaults={
            "max_position_embeddings": 131072,
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
            "num_local_experts": 8,
            _PER_TOKEN: 2,
        },
        derive=_mixtral,
        sliding_window="always",
    ),
    "Qwen2MoeForCausalLM": HfArchitecture(
        layout=layouts.QWEN_MOE,
        defaults={
            **_QWEN_DEFAULTS,
            "num_key_value_heads": 16,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "num_experts": 60,
            _PER_TOKEN: 4,
            "qkv_bias": True,
        },
        requires={"use_sliding_window": False},
        flags={"qkv_bias": "qkv_bias"},
        derive=_qwen2,
    ),
    "Qwen3MoeForCausalLM": HfArchitecture(
        layout=layouts.QWEN_MOE,
        defaults={
            **_QWEN_DEFAULTS,
            "num_key_value_heads": 4,
            "moe_intermediate_size": 768,
            "num_experts": 128,
            _PER_TOKEN: 8,
        },
        requires={"use_sliding_window": False},
        fixed={"qk_norm": "rms_head"},
        flags=ATTENTION_BIAS,
        derive=_qwen,
    ),
    "OlmoeForCausalLM": HfArchitecture(
        layout=layouts.QWEN_MOE,
        defaults={
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "num_experts": 64,
            _PER_TOKEN: 8,
        },
        requires={"clip_qkv": None},
        fixed={"qk_norm": "rms_row"},
        flags=ATTENTION_BIAS,
        derive=_olmoe,
    ),
    "GraniteMoeForCausalLM": HfArchitecture(
        layout=layouts.GRANITE_MOE,
        defaults={
            "max_position_embeddings": 2048,
            "num_local_experts": 8,
            _PER_TOKEN: 2,
        },
        flags=ATTENTION_BIAS,
        derive=_granite,
    ),
    "GptOssForCausalLM": HfArchitecture(
        layout=layouts.GPT_OSS,
        defaults={
            "max_position_embeddings": 131072,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "rms_norm_eps": 1e-5,
            "rope_theta": 150000.0,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 32.0,
                "truncate": False,
                "original_max_position_embeddings": 4096,
            },
            "sliding_window": 128,
            "attention_bias": True,
            "num_local_experts": 128,
            _PER_TOKEN: 4,
        },
        requires={"swiglu_alpha": 1.702, "swiglu_limit": 7.0},
        fixed={"activation": "clamped_swiglu", "attention_sinks": True},
        flags=ATTENTION_BIAS,
        derive=_gpt_oss,
        sliding_window="by layer",
        window_pattern=2,
        quantizations=("mxfp4",),
    ),
}
