"""Reads Hugging Face's config.json into a DecoderConfig.

architectures says which class reads which keys.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.config import Activation, DecoderConfig, RopeConfig
from headrace.models.loaders.architectures import HfArchitecture, hf_architecture
from headrace.models.loaders.metadata import Metadata, read_num_kv_heads

_ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


def read_hf_config(values: Mapping[str, Any]) -> DecoderConfig:
    """The decoder that config.json describes.

    Raises UnsupportedModelError for what we do not compute, ModelFileError for what makes no
    sense.
    """
    name = _architecture_name(values)
    architecture = hf_architecture(name)
    config = Metadata({**architecture.defaults, **values}, "config.json")
    _check_unquantized(config)
    num_heads = config.integer("num_attention_heads")
    head_dim = _head_dim(config, num_heads)
    num_layers = config.integer("num_hidden_layers")
    rope = _rope(config)
    attention_bias = architecture.reads_attention_bias and config.flag("attention_bias")
    window = _window(architecture, config, num_layers)
    return DecoderConfig(
        architecture=name,
        vocab_size=config.integer("vocab_size"),
        hidden_size=config.integer("hidden_size"),
        intermediate_size=config.integer("intermediate_size"),
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=read_num_kv_heads(config, "num_key_value_heads", num_heads),
        head_dim=head_dim,
        max_position=_max_position(config, rope),
        norm_eps=config.number("rms_norm_eps", 1e-6),
        rope=rope,
        activation=_activation(config),
        qkv_bias=architecture.qkv_bias or attention_bias,
        attention_output_bias=attention_bias,
        mlp_bias=architecture.reads_mlp_bias and config.flag("mlp_bias"),
        qk_norm=architecture.qk_norm,
        sliding_window=window.size,
        sliding_window_layers=window.layers,
        tie_word_embeddings=config.flag("tie_word_embeddings"),
    )


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


def _check_unquantized(config: Metadata) -> None:
    quantization = config.get("quantization_config")
    if quantization is not None:
        is_mapping = isinstance(quantization, Mapping)
        method = quantization.get("quant_method", "unnamed") if is_mapping else quantization
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
    if not config.flag("use_sliding_window"):
        return _Window(None)
    kinds = config.get("layer_types")
    if not isinstance(kinds, list):
        full = config.number("max_window_layers")  # this number of first layers has full attention
        layers = tuple(layer for layer in range(num_layers) if layer >= full)
    else:
        layers = tuple(i for i, kind in enumerate(kinds) if kind == "sliding_attention")
    # No layers at all would mean every layer.
    return _Window(size, layers) if layers else _Window(None)


def _rope(config: Metadata) -> RopeConfig:
    """From ``rope_parameters`` (transformers 5), or ``rope_theta`` and ``rope_scaling``."""
    rope = config.mapping("rope_parameters") or config.mapping("rope_scaling")
    theta = config.number("rope_theta", 10000.0)
    _check_whole_rotation(config)
    if rope is None:
        return RopeConfig(theta=theta)
    _check_whole_rotation(rope)
    if rope.get("full_attention") is not None or rope.get("sliding_attention") is not None:
        raise UnsupportedModelError(
            "The model's kinds of layers rotate differently, which Headrace does not compute."
        )
    theta = rope.number("rope_theta", theta)
    kind = rope.text("rope_type", rope.text("type", "default"))
    max_position = config.integer("max_position_embeddings")
    original = rope.integer("original_max_position_embeddings", max_position)
    match kind:
        case "default":
            return RopeConfig(theta=theta)
        case "linear":
            return RopeConfig(theta=theta, scaling="linear", factor=rope.number("factor"))
        case "dynamic":
            return RopeConfig(
                theta=theta,
                scaling="dynamic",
                factor=rope.number("factor"),
                original_max_position=max_position,
            )
        case "llama3":
            return RopeConfig(
                theta=theta,
                scaling="llama3",
                factor=rope.number("factor"),
                low_freq_factor=rope.number("low_freq_factor"),
                high_freq_factor=rope.number("high_freq_factor"),
                original_max_position=original,
            )
        case "yarn":
            return _yarn(rope, theta, original, max_position)
    raise UnsupportedModelError(
        f"The model scales its rotary embedding by '{kind}', which Headrace does not compute. It "
        "computes default, linear, dynamic, llama3 and yarn."
    )


def _yarn(rope: Metadata, theta: float, original: int, max_position: int) -> RopeConfig:
    if not rope.flag("truncate", True):
        raise UnsupportedModelError(
            "The model scales its rotary embedding by 'yarn' without truncation, which Headrace "
            "does not compute."
        )
    factor = rope.optional_number("factor") or max_position / original
    amplitude = rope.optional_number("attention_factor")
    scale, scale_all = rope.optional_number("mscale"), rope.optional_number("mscale_all_dim")
    if amplitude is None and scale and scale_all and factor > 1:
        logarithm = 0.1 * math.log(factor)
        amplitude = (scale * logarithm + 1) / (scale_all * logarithm + 1)
    return RopeConfig(
        theta=theta,
        scaling="yarn",
        factor=factor,
        original_max_position=original,
        beta_fast=rope.number("beta_fast", 32.0),
        beta_slow=rope.number("beta_slow", 1.0),
        attention_factor=amplitude,
    )


def _check_whole_rotation(values: Metadata) -> None:
    share = values.number("partial_rotary_factor", 1.0)
    if share != 1.0:
        raise UnsupportedModelError(
            f"The model rotates {share:.0%} of each head, and Headrace only whole heads."
        )


def _max_position(config: Metadata, rope: RopeConfig) -> int:
    """Dynamic and yarn scaling stretch the trained context; the others' limit is the model's."""
    limit = config.integer("max_position_embeddings")
    if rope.scaling in ("dynamic", "yarn"):
        return max(limit, int(rope.original_max_position * rope.factor))
    return limit
