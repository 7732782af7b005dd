"""Loads a causal LM with transformers' code and connects paged attention."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from headrace.models.attention.base import AttentionSpec
from headrace.models.attention.factory import create_attention
from headrace.models.config import DecoderConfig
from headrace.models.transformers.attention_interface import ATTENTION_NAME, register
from headrace.models.transformers.causal_lm import TransformersDecoder
from headrace.models.transformers.loading import AutoClass, load_model
from headrace.models.transformers.probe import probe_layers

if TYPE_CHECKING:
    from headrace.models.simd.thread_pool import ThreadPool


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
        score_scale=first.scale,
        softcap=first.softcap,
    )
    attention = create_attention(spec, thread_pool)
    return TransformersDecoder(config, model, attention, probe)
