"""What makes the tiny model of each family: transformers' class and what it needs beside its sizes.

Values are chosen so that every part of a family changes its logits: caps that bite, windows that
are shorter than the tests' sequences, a few rotated dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TinyArchitecture = Literal[
    "llama",
    "llama3",
    "mistral",
    "qwen2",
    "qwen3",
    "gpt2",
    "gemma",
    "gemma2",
    "gemma3",
    "phi3",
    "opt",
    "gptneox",
    "phi",
    "olmo2",
    "granite",
    "smollm3",
    "stablelm",
    "starcoder2",
    "cohere",
    "cohere2",
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
    "olmoe",
    "granite_moe",
    "gpt_oss",
]

LLAMA3_ROPE: Mapping[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONGROPE: Mapping[str, Any] = {
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "short_factor": [1.0, 1.1, 1.2, 1.4, 1.5, 1.9],
        "long_factor": [1.0, 1.5, 2.0, 3.0, 5.0, 8.0],
        "original_max_position_embeddings": 64,
    },
    "original_max_position_embeddings": 64,
}
"""Of tiny Phi-3, as Phi-4-mini has it."""


@dataclass(frozen=True, kw_only=True)
class TinyFamily:
    """How to build one of transformers' classes."""

    name: str
    """Of its classes, before Config and ForCausalLM."""
    model_class: str = ""
    """The class of the model, if it has another name."""
    sizes: Mapping[str, str] = field(default_factory=dict)
    """Llama's keys: this family's; "" where it has no such key."""
    config: Mapping[str, Any] = field(default_factory=dict)
    gguf: str = ""
    """GGUF's name of the architecture; "" if it has none."""


_NO_KV_HEADS = {"num_key_value_heads": ""}
_TIED = {"tie_word_embeddings": True}  # as all GGUF files of these families
_EXPERTS = {"num_experts": 6, "num_experts_per_tok": 3}
_LOCAL_EXPERTS = {"num_local_experts": 6, "num_experts_per_tok": 3}
_GRANITE = {
    "embedding_multiplier": 6.0,
    "attention_multiplier": 0.125,
    "residual_multiplier": 0.5,
    "logits_scaling": 2.0,
}
_CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}

FAMILIES: Mapping[TinyArchitecture, TinyFamily] = {
    "llama": TinyFamily(name="Llama", gguf="llama"),
    "llama3": TinyFamily(name="Llama", config={"rope_parameters": LLAMA3_ROPE}, gguf="llama"),
    "mistral": TinyFamily(
        name="Mistral", config={"head_dim": 32, "sliding_window": 48}, gguf="llama"
    ),
    "qwen2": TinyFamily(name="Qwen2", gguf="qwen2"),
    "qwen3": TinyFamily(name="Qwen3", config={"head_dim": 32}, gguf="qwen3"),
    "gpt2": TinyFamily(
        name="GPT2",
        model_class="GPT2LMHeadModel",
        sizes={
            **_NO_KV_HEADS,
            "hidden_size": "n_embd",
            "intermediate_size": "n_inner",
            "num_hidden_layers": "n_layer",
            "num_attention_heads": "n_head",
            "max_position_embeddings": "n_positions",
        },
        gguf="gpt2",
    ),
    "gemma": TinyFamily(name="Gemma", config={"head_dim": 32, **_TIED}, gguf="gemma"),
    "gemma2": TinyFamily(
        name="Gemma2",
        config={
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": 24,
            "hidden_activation": "gelu_pytorch_tanh",
            **_CAPS,
            **_TIED,
        },
        gguf="gemma2",
    ),
    "gemma3": TinyFamily(
        name="Gemma3",
        config={
            "num_hidden_layers": 6,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": 24,
            "hidden_activation": "gelu_pytorch_tanh",
            **_TIED,
        },
        gguf="gemma3",
    ),
    "phi3": TinyFamily(
        name="Phi3",
        config={
            "sliding_window": 48,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 1.0,
            },
        },
        gguf="phi3",
    ),
    "opt": TinyFamily(
        name="OPT",
        sizes={
            **_NO_KV_HEADS,
            "intermediate_size": "ffn_dim",
            "initializer_range": "init_std",
        },
    ),
    "gptneox": TinyFamily(name="GPTNeoX", sizes=_NO_KV_HEADS, gguf="gptneox"),
    "phi": TinyFamily(name="Phi", gguf="phi2"),
    "olmo2": TinyFamily(name="Olmo2", gguf="olmo2"),
    "granite": TinyFamily(
        name="Granite",
        config=_GRANITE,
        gguf="granite",
    ),
    "smollm3": TinyFamily(name="SmolLM3", config={"num_hidden_layers": 4}, gguf="smollm3"),
    "stablelm": TinyFamily(name="StableLm", gguf="stablelm"),
    "starcoder2": TinyFamily(
        name="Starcoder2", config={"hidden_act": "gelu_pytorch_tanh"}, gguf="starcoder2"
    ),
    "cohere": TinyFamily(name="Cohere", config={"logit_scale": 0.25, **_TIED}, gguf="command-r"),
    "cohere2": TinyFamily(
        name="Cohere2",
        config={"num_hidden_layers": 4, "logit_scale": 0.25, "sliding_window": 24, **_TIED},
        gguf="cohere2",
    ),
    "mixtral": TinyFamily(name="Mixtral", config=_LOCAL_EXPERTS, gguf="llama"),
    "qwen2_moe": TinyFamily(
        name="Qwen2Moe",
        config={
            **_EXPERTS,
            "moe_intermediate_size": 48,
            "shared_expert_intermediate_size": 80,
        },
        gguf="qwen2moe",
    ),
    "qwen3_moe": TinyFamily(
        name="Qwen3Moe",
        config={
            **_EXPERTS,
            "head_dim": 32,
            "moe_intermediate_size": 40,
            "norm_topk_prob": True,
        },
        gguf="qwen3moe",
    ),
    "olmoe": TinyFamily(name="Olmoe", config=_EXPERTS, gguf="olmoe"),
    "granite_moe": TinyFamily(
        name="GraniteMoe", config={**_GRANITE, **_LOCAL_EXPERTS}, gguf="granitemoe"
    ),
    "gpt_oss": TinyFamily(
        name="GptOss",
        config={
            **_LOCAL_EXPERTS,
            "head_dim": 32,
            "sliding_window": 24,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 150000.0,
                "factor": 4.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
                "original_max_position_embeddings": 64,
            },
        },
        gguf="gpt-oss",
    ),
}
