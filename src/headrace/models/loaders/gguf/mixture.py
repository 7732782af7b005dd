"""Reads the mixture of experts out of a GGUF file's metadata."""

from collections.abc import Collection

from headrace.core.errors import UnsupportedModelError
from headrace.models.config import MoeConfig
from headrace.models.loaders.architectures import GgufArchitecture, bounded_layers
from headrace.models.loaders.metadata import Metadata
from headrace.models.loaders.mixture import read_mixture

_EXPERT_SIZE = "expert_feed_forward_length"
_SHARED_SIZE = "expert_shared_feed_forward_length"
_SOFTMAX_OF_ALL, _SOFTMAX_OF_CHOSEN = 1, 3
"""Of ``expert_gating_func``; 2 is the sigmoid."""


def read_gguf_mixture(
    architecture: GgufArchitecture, config: Metadata, tensors: Collection[str]
) -> MoeConfig:
    """tensors: the names in the file. Raises UnsupportedModelError for what we do not compute."""
    shared = "blk.0.ffn_up_shexp.weight" in tensors
    gating = config.get("expert_gating_func") or _SOFTMAX_OF_ALL
    scale = config.number("expert_weights_scale", 1.0)
    if (
        architecture.moe is None
        or (shared and "blk.0.ffn_gate_inp_shexp.weight" not in tensors)
        or gating not in (_SOFTMAX_OF_ALL, _SOFTMAX_OF_CHOSEN)
        or scale not in (0.0, 1.0)
    ):
        raise UnsupportedModelError(
            f"{config.where} is a mixture of experts of a kind that Headrace does not compute."
        )
    size = config.integer("feed_forward_length", config.optional_integer(_EXPERT_SIZE))
    fields = {
        "intermediate_size": config.integer(_EXPERT_SIZE, size),
        "shared_size": config.integer(_SHARED_SIZE, size) if shared else None,
        "dense_layers": tuple(
            layer
            for layer in bounded_layers(config.integer("block_count"))
            if f"blk.{layer}.ffn_gate_inp.weight" not in tensors
        ),
        **architecture.moe,
    }
    if config.get("expert_weights_norm") is not None:
        fields["normalized"] = config.flag("expert_weights_norm")
    return read_mixture(config, "expert_count", "expert_used_count", **fields)
