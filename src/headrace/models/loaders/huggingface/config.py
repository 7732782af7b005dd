"""Reads Hugging Face's config.json into a DecoderConfig.

families says which class reads which keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.config import Activation, DecoderConfig, RopeConfig
from headrace.models.loaders.architectures import (
    HfArchitecture,
    bounded_layers,
    layers_but_each,
)
from headrace.models.loaders.huggingface.families import hf_architecture
from headrace.models.loaders.huggingface.rope import read_rope
from headrace.models.loaders.metadata import Metadata, read_num_kv_heads

_ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
    "quick_gelu": "quick_gelu",
}


def read_hf_config(values: Mapping[str, Any]) -> DecoderConfig:
    """The decoder that config.json describes.

    Raises UnsupportedModelError for what we do not compute, ModelFileError for what makes no
    sense.
    """
    name = _architecture_name(values)
    architecture = hf_architecture(name)
    config = _metadata(values, architecture)
    _check_quantization(config, architecture)
    _check_required(config, architecture, name)
    num_heads = config.integer("num_attention_heads")
    head_dim = _head_dim(config, num_heads)
    num_layers = config.integer("num_hidden_layers")
    rope = read_rope(config, architecture, head_dim)
    window = _window(architecture, config, num_layers)
    fields: dict[str, Any] = {
        "architecture": name,
        "vocab_size": config.integer("vocab_size"),
        "hidden_size": config.integer("hidden_size"),
        "intermediate_size": _intermediate_size(config),
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_kv_heads": read_num_kv_heads(config, "num_key_value_heads", num_heads),
        "head_dim": head_dim,
        "max_position": _max_position(config, rope.every_layer),
        "norm_eps": config.number("rms_norm_eps", 1e-6),
        "rope": rope.every_layer,
        "window_rope": rope.with_window,
        "unrotated_layers": _unrotated_layers(architecture, config, num_layers, window),
        "sliding_window": window.size,
        "sliding_window_layers": window.layers,
        "tie_word_embeddings": config.flag("tie_word_embeddings"),
    }
    if "activation" not in architecture.fixed:
        fields["activation"] = _activation(config)
    fields |= architecture.fixed
    fields |= {field: config.flag(key) for field, key in architecture.flags.items()}
    if architecture.derive is not None:
        fields |= architecture.derive(config)
    return DecoderConfig(**fields)


@dataclass(frozen=True, slots=True)
class _Window:
    size: int | None
    layers: tuple[int, ...] = ()


def _architecture_name(values: Mapping[str, Any]) -> str:
    names = values.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    kind = values.get("model_type")
    if kind is None:
        raise ModelFileError("config.json says neither 'architectures' nor 'model_type'.")
    return f"{str(kind).capitalize()}ForCausalLM"


def _metadata(values: Mapping[str, Any], architecture: HfArchitecture) -> Metadata:
    """What config.json says, or else transformers, under Llama's keys."""
    if architecture.nested_under is not None:
        values = {**values, **(values.get(architecture.nested_under) or {})}
    merged = {**architecture.defaults, **values}
    for key, theirs in architecture.aliases.items():
        if theirs in merged:
            merged[key] = merged[theirs]
    return Metadata(merged, "config.json")


def _check_required(config: Metadata, architecture: HfArchitecture, name: str) -> None:
    for key, expected in architecture.requires.items():
        value = config.get(key)
        if value is not None and value != expected:
            raise UnsupportedModelError(
                f"config.json says '{key}': {value!r}. Of {name}, Headrace computes models with "
                f"{expected!r} only."
            )


def _check_quantization(config: Metadata, architecture: HfArchitecture) -> None:
    quantization = config.get("quantization_config")
    if quantization is None:
        return
    is_mapping = isinstance(quantization, Mapping)
    method = quantization.get("quant_method", "unnamed") if is_mapping else quantization
    if method not in architecture.quantizations:
        raise UnsupportedModelError(
            f"The model's weights are quantized ('{method}' in config.json), which Headrace does "
            "not read. Choose the unquantized model, or a GGUF file of it."
        )


def _head_dim(config: Metadata, num_heads: int) -> int:
    head_dim = config.optional_integer("head_dim")
    if head_dim is not None:
        return head_dim
    hidden_size = config.integer("hidden_size")
    if hidden_size % num_heads:
        raise ModelFileError(
            f"config.json says no 'head_dim', and 'hidden_size' {hidden_size} does not divide "
            f"into {num_heads} heads."
        )
    return hidden_size // num_heads


def _intermediate_size(config: Metadata) -> int:
    """GPT-2's null means four times the hidden size; elsewhere the key is there."""
    if config.get("intermediate_size") is None and config.get("n_embd") is not None:
        return 4 * config.integer("hidden_size")
    return config.integer("intermediate_size")


def _activation(config: Metadata) -> Activation:
    name = config.text("hidden_act", "silu")
    if name in _ACTIVATIONS:
        return _ACTIVATIONS[name]
    raise UnsupportedModelError(
        f"The model's activation is '{name}', which Headrace does not compute. It computes "
        f"{', '.join(_ACTIVATIONS)}."
    )


def _window(architecture: HfArchitecture, config: Metadata, num_layers: int) -> _Window:
    if architecture.sliding_window == "never":
        return _Window(None)
    size = config.optional_integer("sliding_window")
    if architecture.sliding_window == "always" or size is None:
        return _Window(size)
    if architecture.sliding_window == "if asked" and not config.flag("use_sliding_window"):
        return _Window(None)
    kinds = config.get("layer_types")
    if isinstance(kinds, list):
        layers = tuple(i for i, kind in enumerate(kinds) if kind == "sliding_attention")
    elif architecture.sliding_window == "by layer":
        pattern = config.integer("sliding_window_pattern", architecture.window_pattern)
        layers = layers_but_each(pattern, num_layers)
    elif architecture.rotated == "listed":
        layers = _listed_as_unrotated(config, num_layers)
    else:
        full = config.number("max_window_layers")  # this number of first layers has full attention
        layers = tuple(layer for layer in bounded_layers(num_layers) if layer >= full)
    # No layers at all would mean every layer.
    return _Window(size, layers) if layers else _Window(None)


def _unrotated_layers(
    architecture: HfArchitecture, config: Metadata, num_layers: int, window: _Window
) -> tuple[int, ...]:
    if architecture.rotated == "with window":
        return tuple(i for i in bounded_layers(num_layers) if i not in window.layers)
    return _listed_as_unrotated(config, num_layers) if architecture.rotated == "listed" else ()


def _listed_as_unrotated(config: Metadata, num_layers: int) -> tuple[int, ...]:
    rotated = config.get("no_rope_layers")  # 1 means that the layer rotates
    if isinstance(rotated, list):
        return tuple(layer for layer, flag in enumerate(rotated) if not flag)
    interval = config.integer("no_rope_layer_interval")
    with_rope = layers_but_each(interval, num_layers)
    return tuple(layer for layer in bounded_layers(num_layers) if layer not in with_rope)


def _max_position(config: Metadata, rope: RopeConfig | None) -> int:
    """Dynamic and yarn scaling stretch the trained context; the others' limit is the model's."""
    limit = config.integer("max_position_embeddings")
    if rope is not None and rope.scaling in ("dynamic", "yarn"):
        return max(limit, int(rope.original_max_position * rope.factor))
    return limit
