"""What llama.cpp's converter makes of each family: metadata, and weights in GGUF's order."""

import math
from typing import TYPE_CHECKING, Any

import gguf
import torch
from torch import Tensor

from headrace.testing.models.tiny_families import FAMILIES, TinyArchitecture

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PERMUTED = ("llama", "llama3", "mistral", "granite", "smollm3", "mixtral", "granite_moe")
"""Families whose rotary pairs the converter makes adjacent."""
_NORM_EPS = ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")


def add_metadata(writer: Any, architecture: TinyArchitecture, config: Any) -> None:
    """The keys of the architecture."""
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
    writer.add_feed_forward_length(inner or 4 * config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    num_kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    writer.add_head_count_kv(num_kv_heads)
    head_dim = head_dim_of(config)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    for name in _NORM_EPS:
        if getattr(config, name, None) is not None:
            writer.add_layer_norm_eps(getattr(config, name))
    if getattr(config, "rms_norm_eps", None) is not None:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    _add_rope(writer, config, head_dim)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)
    _add_scales(writer, architecture, config)
    _add_experts(writer, config)


def gguf_weights(model: "PreTrainedModel", architecture: TinyArchitecture) -> dict[str, Tensor]:
    """By GGUF's names."""
    config = model.config
    weights = dict(model.state_dict())
    if config.tie_word_embeddings:
        for name in ("lm_head.weight", "embed_out.weight"):
            weights.pop(name, None)
    kind = next(
        kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == FAMILIES[architecture].gguf
    )
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    converted = {}
    for name, weight in _split_experts(_stacked_norms(weights), architecture).items():
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise ValueError(f"GGUF has no name for {name} of {architecture}")
        converted[theirs] = _converted(name, weight.detach().float(), architecture, config)
    converted |= _rope_factors(model, architecture)
    return converted


def _add_rope(writer: Any, config: Any, head_dim: int) -> None:
    rope = getattr(config, "rope_parameters", None)
    if rope is None:
        return
    rope = rope.get("full_attention", rope)
    share = rope.get("partial_rotary_factor") or 1.0
    writer.add_rope_dimension_count(int(head_dim * share))
    writer.add_rope_freq_base(rope["rope_theta"])
    if "long_factor" in rope:
        original = rope["original_max_position_embeddings"]
        stretch = config.max_position_embeddings / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(stretch) / math.log(original)))
    elif rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    elif rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def _add_scales(writer: Any, architecture: TinyArchitecture, config: Any) -> None:
    match architecture:
        case "gemma2":
            writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
            writer.add_final_logit_softcapping(config.final_logit_softcapping)
        case "gptneox" | "stablelm":
            writer.add_parallel_residual(config.use_parallel_residual)
        case "granite" | "granite_moe":
            writer.add_attention_scale(config.attention_multiplier)
            writer.add_embedding_scale(config.embedding_multiplier)
            writer.add_residual_scale(config.residual_multiplier)
            writer.add_logit_scale(config.logits_scaling)
        case "cohere" | "cohere2":
            writer.add_logit_scale(config.logit_scale)


def _add_experts(writer: Any, config: Any) -> None:
    if getattr(config, "num_experts_per_tok", None) is None:
        return
    num_experts = getattr(config, "num_local_experts", None) or config.num_experts
    writer.add_expert_count(num_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    size = getattr(config, "moe_intermediate_size", None)
    if size is not None:
        writer.add_expert_feed_forward_length(size)
    shared = getattr(config, "shared_expert_intermediate_size", None)
    if shared is not None:
        writer.add_expert_shared_feed_forward_length(shared)


def _split_experts(weights: dict[str, Tensor], architecture: TinyArchitecture) -> dict[str, Tensor]:
    """The fused gates of all experts as the two tensors that GGUF has, with names of its kind."""
    split: dict[str, Tensor] = {}
    for stored, weight in weights.items():
        name = stored.replace("block_sparse_moe.", "mlp.").replace(".sinks", ".sinks.weight")
        if ".experts." not in name:
            split[name] = weight
            continue
        module, part = name.removesuffix("_bias"), "bias" if name.endswith("_bias") else "weight"
        alternating = architecture == "gpt_oss"
        matrices = weight.transpose(1, 2) if alternating and part == "weight" else weight
        if module.endswith("down_proj"):
            split[f"{module}.{part}"] = matrices
            continue
        halves = (matrices[:, ::2], matrices[:, 1::2]) if alternating else matrices.chunk(2, dim=1)
        for half, rows in zip(("gate_proj", "up_proj"), halves, strict=True):
            split[f"{module.removesuffix('gate_up_proj')}{half}.{part}"] = rows
    return split


def _stacked_norms(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """StableLM's norm of each head as one matrix."""
    stacked: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if ".norms." not in name:
            stacked[name] = weight
            continue
        whole = f"{name.split('.norms.')[0]}.weight"
        rows = weight[None]
        stacked[whole] = torch.cat([stacked[whole], rows]) if whole in stacked else rows
    return stacked


def _converted(name: str, weight: Tensor, architecture: TinyArchitecture, config: Any) -> Tensor:
    if architecture in _PERMUTED and (".q_proj." in name or ".k_proj." in name):
        is_query = ".q_proj." in name
        heads = config.num_attention_heads if is_query else config.num_key_value_heads
        return _interleave_heads(weight, heads)
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return weight + 1
    if architecture == "gpt2" and weight.dim() == 2 and ".h." in name:
        return weight.T
    if ".query_key_value." in name:
        heads = weight.view(config.num_attention_heads, 3, -1, *weight.shape[1:])
        return heads.transpose(0, 1).reshape(weight.shape)
    return weight


def _interleave_heads(weight: Tensor, num_heads: int) -> Tensor:
    """Rows (a0 a1 ... b0 b1 ...) of each head as (a0 b0 a1 b1 ...)."""
    half = len(weight) // num_heads // 2
    halves = weight.view(num_heads, 2, half, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape)


def _rope_factors(model: "PreTrainedModel", architecture: TinyArchitecture) -> dict[str, Tensor]:
    """What scaled frequencies are divided by: [rotary_dim / 2] each."""
    rope = getattr(model.config, "rope_parameters", None)
    if architecture == "phi3" and rope is not None and "long_factor" in rope:
        return {
            f"rope_factors_{length}.weight": torch.tensor(rope[f"{length}_factor"])
            for length in ("long", "short")
        }
    if architecture != "llama3" or rope is None:
        return {}
    head_dim = head_dim_of(model.config)
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    plain = 1.0 / rope["rope_theta"] ** exponents
    return {"rope_freqs.weight": plain / model.model.rotary_emb.inv_freq}


def head_dim_of(config: Any) -> int:
    """Dimensions of one head."""
    explicit = getattr(config, "head_dim", None)
    return int(explicit or config.hidden_size // config.num_attention_heads)
