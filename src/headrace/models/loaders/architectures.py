"""The families that we can read, and how they differ: one row per family.

hf_config and gguf.config read this table. A family that DecoderConfig can describe
needs a row here and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.core.errors import UnsupportedModelError

SlidingWindow = Literal["never", "always", "if asked"]


@dataclass(frozen=True, kw_only=True)
class HfArchitecture:
    """How one class of transformers reads its config.json."""

    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What transformers takes where config.json is silent."""
    qkv_bias: bool = False
    """Queries, keys and values always have biases."""
    reads_attention_bias: bool = False
    """``attention_bias`` gives biases to all four projections of attention."""
    reads_mlp_bias: bool = False
    qk_norm: bool = False
    sliding_window: SlidingWindow = "never"
    """"always": wherever ``sliding_window`` is set; "if asked": with ``use_sliding_window``."""


@dataclass(frozen=True, kw_only=True)
class GgufArchitecture:
    """What a GGUF file of one ``general.architecture`` leaves unsaid."""

    interleaved_rotary: bool = False
    """Rows of q and k were reordered so that a rotated pair lies side by side."""
    qk_norm: bool = False


HF_ARCHITECTURES: Mapping[str, HfArchitecture] = {
    "LlamaForCausalLM": HfArchitecture(
        defaults={"max_position_embeddings": 2048},
        reads_attention_bias=True,
        reads_mlp_bias=True,
    ),
    "MistralForCausalLM": HfArchitecture(
        defaults={
            "max_position_embeddings": 131072,
            "num_key_value_heads": 8,
            "sliding_window": 4096,
        },
        sliding_window="always",
    ),
    "Qwen2ForCausalLM": HfArchitecture(
        defaults={
            "max_position_embeddings": 32768,
            "num_key_value_heads": 32,
            "sliding_window": 4096,
            "max_window_layers": 28,
        },
        qkv_bias=True,
        sliding_window="if asked",
    ),
    "Qwen3ForCausalLM": HfArchitecture(
        defaults={
            "max_position_embeddings": 32768,
            "num_key_value_heads": 32,
            "head_dim": 128,
            "sliding_window": 4096,
            "max_window_layers": 28,
        },
        reads_attention_bias=True,
        qk_norm=True,
        sliding_window="if asked",
    ),
}

GGUF_ARCHITECTURES: Mapping[str, GgufArchitecture] = {
    "llama": GgufArchitecture(interleaved_rotary=True),
    "qwen2": GgufArchitecture(),
    "qwen3": GgufArchitecture(qk_norm=True),
}


def hf_architecture(name: str) -> HfArchitecture:
    """The row of a class name out of config.json; UnsupportedModelError if there is none."""
    if name in HF_ARCHITECTURES:
        return HF_ARCHITECTURES[name]
    raise _unsupported(name, HF_ARCHITECTURES)


def gguf_architecture(name: str) -> GgufArchitecture:
    """The row of a ``general.architecture``; UnsupportedModelError if there is none."""
    if name in GGUF_ARCHITECTURES:
        return GGUF_ARCHITECTURES[name]
    raise _unsupported(name, GGUF_ARCHITECTURES)


def _unsupported(name: str, known: Mapping[str, object]) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The model's architecture is {name}, which Headrace does not know. It knows "
        f"{', '.join(known)}; choose a model of one of these."
    )
