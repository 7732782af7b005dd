"""Reads a GGUF file's metadata into a DecoderConfig.

Takes from the tensors only what the metadata leaves unsaid: their shapes, their presence and
Llama 3's frequency factors.
"""

import math
from dataclasses import replace
from typing import Any

import torch

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.config import DecoderConfig, RopeConfig
from headrace.models.loaders.architectures import (
    GgufArchitecture,
    bounded_layers,
    layers_but_each,
)
from headrace.models.loaders.gguf.dequantize import dequantize
from headrace.models.loaders.gguf.families import gguf_architecture
from headrace.models.loaders.gguf.file import GgufFile
from headrace.models.loaders.gguf.mixture import read_gguf_mixture
from headrace.models.loaders.metadata import Metadata, read_num_kv_heads

EMBEDDING = "token_embd.weight"
ROPE_FACTORS = "rope_freqs.weight"
LONG_FACTORS = "rope_factors_long.weight"
SHORT_FACTORS = "rope_factors_short.weight"
OUTPUT = "output.weight"
OUTPUT_BIAS = "output.bias"

_END_TOKENS = ("eos", "eot", "eom")
_END_TEXTS = frozenset(
    {
        "<|eot_id|>",
        "<|eom_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<end_of_turn>",
        "<turn|>",
        "<end_of_utterance>",
        "</s>",
        "<eos>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "[e~[",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
    }
)
"""Control tokens with these texts end an answer whatever the file says of them, as in llama.cpp:
files often name the end of a text and not that of a turn, or the wrong one."""
_CONTROL = 3
"""Of ``tokenizer.ggml.token_type``."""
_SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}


def read_gguf_config(file: GgufFile) -> DecoderConfig:
    """The decoder that a GGUF file describes.

    Raises UnsupportedModelError for what we do not compute, ModelFileError for what makes no
    sense.
    """
    where = f"'{file.path}'"
    everything = Metadata(file.metadata, where)
    name = everything.text("general.architecture")
    architecture = gguf_architecture(name)
    prefix = f"{name}."
    own = {
        key.removeprefix(prefix): value
        for key, value in file.metadata.items()
        if key.startswith(prefix)
    }
    return _decoder_config(name, architecture, Metadata(own, where), file)


def eos_token_ids(file: GgufFile) -> frozenset[int]:
    """The tokens that end an answer: of a text, of a turn, of a message."""
    keys = [f"tokenizer.ggml.{kind}_token_id" for kind in _END_TOKENS]
    found = [file.metadata.get(key) for key in keys]
    texts = file.metadata.get("tokenizer.ggml.tokens")
    types = file.metadata.get("tokenizer.ggml.token_type")
    if isinstance(texts, list) and isinstance(types, list):
        pairs = enumerate(zip(texts, types, strict=False))
        found += [i for i, (text, kind) in pairs if kind == _CONTROL and text in _END_TEXTS]
    return frozenset(value for value in found if isinstance(value, int))


def generation_defaults(file: GgufFile) -> dict[str, float | int]:
    """What the model's authors advise for drawing tokens, by Hugging Face's names."""
    prefix = "general.sampling."
    advised = {ours: file.metadata.get(prefix + theirs) for theirs, ours in _SAMPLING.items()}
    return {name: value for name, value in advised.items() if value is not None}


def _decoder_config(
    name: str, architecture: GgufArchitecture, config: Metadata, file: GgufFile
) -> DecoderConfig:
    num_heads = config.integer("attention.head_count")
    head_dim = _head_dim(config)
    num_layers = config.integer("block_count")
    _check_heads(config, head_dim)
    tensors = file.tensors
    window = _window(config)
    rms_eps = config.number("attention.layer_norm_rms_epsilon", 1e-5)
    fields: dict[str, Any] = {
        "architecture": name,
        "vocab_size": _vocab_size(file),
        "hidden_size": config.integer("embedding_length"),
        "intermediate_size": config.integer(
            "feed_forward_length", config.optional_integer("expert_feed_forward_length")
        ),
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_kv_heads": _num_kv_heads(config, num_heads),
        "head_dim": head_dim,
        "max_position": config.integer("context_length"),
        "norm_eps": config.number("attention.layer_norm_epsilon", rms_eps),
        "qkv_bias": "blk.0.attn_q.bias" in tensors or "blk.0.attn_qkv.bias" in tensors,
        "attention_output_bias": "blk.0.attn_output.bias" in tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in tensors,
        "output_bias": OUTPUT_BIAS in tensors,
        "sliding_window": window,
        "sliding_window_layers": _window_layers(architecture, config, window, num_layers),
        "unrotated_layers": _unrotated_layers(architecture, num_layers),
        "tie_word_embeddings": OUTPUT not in tensors,
    }
    if "rope" not in architecture.fixed:
        rope = _rope(config, file, _rotary_dim(architecture, config, head_dim))
        fields["rope"] = replace(rope, truncate=architecture.yarn_truncates)
        if window is not None and architecture.window_theta is not None:
            theta = config.number("rope.freq_base_swa", architecture.window_theta)
            fields["window_rope"] = RopeConfig(theta=theta)
    if config.get("expert_count"):
        fields["moe"] = read_gguf_mixture(architecture, config, tensors)
    fields |= architecture.fixed
    if architecture.derive is not None:
        fields |= architecture.derive(config, tensors)
    return DecoderConfig(**fields)


def _window(config: Metadata) -> int | None:
    """Files say 0 for none."""
    key = "attention.sliding_window"
    return None if config.get(key) == 0 else config.optional_integer(key)


def _window_layers(
    architecture: GgufArchitecture, config: Metadata, window: int | None, num_layers: int
) -> tuple[int, ...]:
    if window is None or not architecture.window_pattern:
        return ()
    pattern = config.integer("attention.sliding_window_pattern", architecture.window_pattern)
    return layers_but_each(pattern, num_layers)


def _unrotated_layers(architecture: GgufArchitecture, num_layers: int) -> tuple[int, ...]:
    if not architecture.unrotated_pattern:
        return ()
    rotated = layers_but_each(architecture.unrotated_pattern, num_layers)
    return tuple(layer for layer in bounded_layers(num_layers) if layer not in rotated)


def _head_dim(config: Metadata) -> int:
    hidden_size, num_heads = (
        config.integer(key) for key in ("embedding_length", "attention.head_count")
    )
    return config.integer("attention.key_length", hidden_size // num_heads)


def _check_heads(config: Metadata, head_dim: int) -> None:
    if config.integer("attention.value_length", head_dim) != head_dim:
        raise UnsupportedModelError(
            f"{config.where} has heads of values that are not as long as those of keys, which "
            "Headrace does not compute."
        )


def _rotary_dim(architecture: GgufArchitecture, config: Metadata, head_dim: int) -> int | None:
    """None for a whole head."""
    rotated = config.integer("rope.dimension_count", head_dim)
    if rotated == head_dim:
        return None
    if architecture.layout.interleaved_rotary or rotated % 2 or rotated > head_dim:
        raise UnsupportedModelError(
            f"{config.where} rotates {rotated} of each head's {head_dim} dimensions, and Headrace "
            "only whole heads in this family."
        )
    return rotated


def _num_kv_heads(config: Metadata, num_heads: int) -> int:
    if isinstance(config.get("attention.head_count_kv"), list):
        raise UnsupportedModelError(
            f"{config.where} has another number of heads in every layer, which Headrace does not "
            "compute."
        )
    return read_num_kv_heads(config, "attention.head_count_kv", num_heads)


def _vocab_size(file: GgufFile) -> int:
    """The embedding's rows: the metadata may leave the number out."""
    embedding = file.tensors.get(EMBEDDING)
    if embedding is None or len(embedding.shape) != 2:
        raise ModelFileError(f"'{file.path}' has no embedding ('{EMBEDDING}'). Fetch it again.")
    return embedding.shape[0]


def _rope(config: Metadata, file: GgufFile, rotary_dim: int | None) -> RopeConfig:
    theta = config.number("rope.freq_base", 10000.0)
    size = rotary_dim or _head_dim(config)
    if LONG_FACTORS in file.tensors:
        return RopeConfig(
            theta=theta,
            rotary_dim=rotary_dim,
            scaling="longrope",
            original_max_position=config.integer("rope.scaling.original_context_length"),
            attention_factor=config.number("rope.scaling.attn_factor", 1.0),
            long_factors=_freq_factors(file, LONG_FACTORS, size),
            short_factors=_freq_factors(file, SHORT_FACTORS, size),
        )
    factors = _freq_factors(file, ROPE_FACTORS, size)
    kind = config.text("rope.scaling.type", "linear" if config.get("rope.scale_linear") else "none")
    factor = config.optional_number("rope.scaling.factor")
    if factor is None:
        factor = config.number("rope.scale_linear", 1.0)  # as files of 2023 call it
    if factor < 0.0 or (kind == "yarn" and factor == 0.0):
        raise ModelFileError(
            f"{config.where} stretches its context by {factor:g}, which makes no sense. Fetch it "
            "again."
        )
    if kind == "none" or (kind == "linear" and factor in (0.0, 1.0)):
        return RopeConfig(theta=theta, rotary_dim=rotary_dim, freq_factors=factors)
    if kind == "linear":
        return RopeConfig(
            theta=theta,
            rotary_dim=rotary_dim,
            scaling="linear",
            factor=factor,
            freq_factors=factors,
        )
    if kind == "yarn":
        return _yarn(config, theta, rotary_dim, factor, factors)
    raise UnsupportedModelError(
        f"{config.where} scales its rotary embedding by '{kind}', which Headrace does not "
        "compute. It computes none, linear and yarn."
    )


def _yarn(
    config: Metadata,
    theta: float,
    rotary_dim: int | None,
    factor: float,
    factors: tuple[float, ...] | None,
) -> RopeConfig:
    original = config.integer(
        "rope.scaling.original_context_length", config.integer("context_length")
    )
    amplitude = config.optional_number("rope.scaling.attn_factor")
    if amplitude is not None:
        amplitude *= 0.1 * math.log(max(factor, 1.0)) + 1.0  # GGUF's comes on top of YaRN's own
    return RopeConfig(
        theta=theta,
        rotary_dim=rotary_dim,
        scaling="yarn",
        factor=factor,
        original_max_position=original,
        beta_fast=config.number("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=config.number("rope.scaling.yarn_beta_slow", 1.0),
        attention_factor=amplitude,
        freq_factors=factors,
    )


def _freq_factors(file: GgufFile, name: str, rotary_dim: int) -> tuple[float, ...] | None:
    tensor = file.tensors.get(name)
    if tensor is None:
        return None
    if tensor.shape != (rotary_dim // 2,):
        raise ModelFileError(
            f"'{name}' has the shape {list(tensor.shape)} and should have {[rotary_dim // 2]}."
        )
    data = torch.from_numpy(tensor.data)
    factors = dequantize(data, tensor.type_name, tensor.shape, torch.float32, tensor.name)
    return tuple(factors.tolist())
