"""Which models transformers' code can compute here, and how they are loaded."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from headrace.core.errors import UnsupportedModelError
from headrace.models.attention.base import AttentionSpec
from headrace.models.attention.factory import create_attention
from headrace.models.config import DecoderConfig
from headrace.models.transformers.attention_interface import ATTENTION_NAME, register
from headrace.models.transformers.causal_lm import TransformersDecoder
from headrace.models.transformers.loading import AutoClass, load_config, load_model
from headrace.models.transformers.probe import probe_layers

if TYPE_CHECKING:
    from headrace.models.simd.thread_pool import ThreadPool

_SCALED_BY_LENGTH = ("dynamic", "longrope")
"""Kinds of rotary scaling whose angles depend on the longest sequence of a step."""


def describe_model(directory: Path, *, has_output_layer: bool) -> DecoderConfig:
    """What config.json says, as far as memory and context length need it.

    Raises UnsupportedModelError for what is no causal LM with attention in every layer.
    """
    config = load_config(directory)
    _check_class(config)
    text: Any = config.get_text_config()
    names = config.architectures or [type(config).__name__.removesuffix("Config")]
    num_heads = text.num_attention_heads
    return DecoderConfig(
        architecture=names[0],
        vocab_size=text.vocab_size,
        hidden_size=text.hidden_size,
        intermediate_size=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        num_layers=text.num_hidden_layers,
        num_heads=num_heads,
        num_kv_heads=getattr(text, "num_key_value_heads", None) or num_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // num_heads,
        max_position=_max_position(text),
        has_output_layer=has_output_layer,
    )


def load_decoder(
    directory: Path,
    config: DecoderConfig,
    block_size: int,
    dtype: torch.dtype,
    device: torch.device,
    thread_pool: "ThreadPool | None",
) -> TransformersDecoder:
    """Load the weights and connect attention. Raises UnsupportedModelError or ModelFileError."""
    register()
    auto_class: AutoClass = "AutoModelForCausalLM" if config.has_output_layer else "AutoModel"
    model = load_model(directory, auto_class, dtype, device, ATTENTION_NAME)
    probe = probe_layers(model, config.num_layers)
    calls, first = probe.calls, probe.calls[0]
    config = replace(
        config,
        num_heads=first.num_heads,
        num_kv_heads=first.num_kv_heads,
        head_dim=first.head_dim,
    )
    spec = AttentionSpec(
        num_layers=config.num_layers,
        num_heads=first.num_heads,
        num_kv_heads=first.num_kv_heads,
        head_dim=first.head_dim,
        block_size=block_size,
        dtype=dtype,
        device=device,
        windows=tuple(call.window for call in calls),
    )
    attention = create_attention(spec, thread_pool)
    return TransformersDecoder(config, model, attention, probe)


def _check_class(config: Any) -> None:
    from transformers import AutoModelForCausalLM

    kind = type(config)
    mapping: Any = AutoModelForCausalLM._model_mapping
    if config.is_encoder_decoder or kind not in mapping:
        raise UnsupportedModelError(
            f"A model of the type {config.model_type!r} is no causal LM (encoder-decoder models "
            "and models for images or speech are none). Serve it with transformers or vLLM."
        )
    model_class = mapping[kind]
    if model_class._is_stateful:
        raise UnsupportedModelError(
            f"{model_class.__name__} keeps a recurrent state (a state-space or hybrid model), "
            "which Headrace's KV cache does not hold. Serve it with vLLM or llama.cpp."
        )
    if not model_class._supports_attention_backend:
        raise UnsupportedModelError(
            f"{model_class.__name__} does not call transformers' attention interface, so Headrace "
            "cannot give it paged attention. Serve it with transformers or vLLM."
        )


def _max_position(text: Any) -> int:
    """Angles that depend on the longest sequence of a step would differ between a request's steps:
    such models get the context up to which nothing is scaled."""
    limit = getattr(text, "max_position_embeddings", None)
    if not isinstance(limit, int):
        raise UnsupportedModelError(
            "The model's config names no max_position_embeddings, so its context length is unknown."
        )
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = (
        rope.values() if rope and all(isinstance(each, dict) for each in rope.values()) else [rope]
    )
    for each in kinds:
        if each.get("rope_type") in _SCALED_BY_LENGTH:
            original = each.get("original_max_position_embeddings") or limit
            limit = min(limit, original)
    return limit
