"""The weights that a decoder needs, with their shapes, derived from its config alone."""

import math
from collections.abc import Iterator, Mapping

from headrace.core.errors import ModelFileError
from headrace.models.config import DecoderConfig

Shape = tuple[int, ...]


def expected_shapes(config: DecoderConfig) -> Iterator[tuple[str, Shape]]:
    """The canonical name and the shape of every weight that the decoder will read.

    One at a time, as a damaged file may claim billions of layers.
    """
    hidden = config.hidden_size
    yield "model.embed_tokens.weight", (config.vocab_size, hidden)
    if config.learned_positions:
        yield "model.embed_positions.weight", (config.max_position, hidden)
    yield from _norm("model.norm", config)
    if config.has_output_layer and not config.tie_word_embeddings:
        yield "lm_head.weight", (config.vocab_size, hidden)
    if config.has_output_layer and config.output_bias:
        yield "lm_head.bias", (config.vocab_size,)
    layer = dict(_layer_shapes(config))
    mlp, experts = dict(_mlp_shapes(config)), dict(_expert_shapes(config))
    for index in range(config.num_layers):
        for name, shape in (layer | (mlp if config.moe_of(index) is None else experts)).items():
            yield f"model.layers.{index}.{name}", shape


def num_parameters(config: DecoderConfig) -> int:
    """Number of parameters of the decoder."""
    return sum(math.prod(shape) for _, shape in expected_shapes(config))


def check_shapes(config: DecoderConfig, found: Mapping[str, Shape], where: str) -> None:
    """Raise ModelFileError if a weight is missing or contradicts the model's description."""
    for name, expected in expected_shapes(config):
        if name not in found:
            raise ModelFileError(
                f"{where} lacks the weight '{name}'. The model is incomplete, or its description "
                "is of another one; fetch it again."
            )
        if found[name] != expected:
            raise ModelFileError(
                f"In {where}, the weight '{name}' has the shape {list(found[name])}, but the "
                f"model's description says {list(expected)}."
            )


def _layer_shapes(config: DecoderConfig) -> Iterator[tuple[str, Shape]]:
    hidden = config.hidden_size
    queries = config.num_heads * config.head_dim
    keys = config.num_kv_heads * config.head_dim
    if config.norm_place != "after":
        yield from _norm("input_layernorm", config)
        if not config.shared_norm:
            yield from _norm("post_attention_layernorm", config)
    if config.norm_place != "before":
        yield from _norm("attention_output_norm", config)
        yield from _norm("mlp_output_norm", config)
    for name, size in (("q", queries), ("k", keys), ("v", keys)):
        yield from _linear(f"self_attn.{name}_proj", size, hidden, config.qkv_bias)
    yield from _linear("self_attn.o_proj", hidden, queries, config.attention_output_bias)
    if config.qk_norm is not None:
        per_head = config.qk_norm == "rms_head"
        yield "self_attn.q_norm.weight", (config.head_dim if per_head else queries,)
        yield "self_attn.k_norm.weight", (config.head_dim if per_head else keys,)
    if config.attention_sinks:
        yield "self_attn.sinks.weight", (config.num_heads,)


def _mlp_shapes(config: DecoderConfig) -> Iterator[tuple[str, Shape]]:
    hidden, inner = config.hidden_size, config.intermediate_size
    if config.gated_mlp:
        yield from _linear("mlp.gate_proj", inner, hidden, config.mlp_bias)
    yield from _linear("mlp.up_proj", inner, hidden, config.mlp_bias)
    yield from _linear("mlp.down_proj", hidden, inner, config.mlp_bias)


def _expert_shapes(config: DecoderConfig) -> Iterator[tuple[str, Shape]]:
    moe, hidden = config.moe, config.hidden_size
    if moe is None:
        return
    yield from _linear("mlp.router", moe.num_experts, hidden, moe.router_bias)
    sizes = {f"mlp.experts.{i}": moe.intermediate_size for i in range(moe.num_experts)}
    if moe.shared_size is not None:
        yield from _linear("mlp.shared_expert_gate", 1, hidden, False)
        sizes["mlp.shared_expert"] = moe.shared_size
    for module, inner in sizes.items():
        yield from _linear(f"{module}.gate_proj", inner, hidden, moe.bias)
        yield from _linear(f"{module}.up_proj", inner, hidden, moe.bias)
        yield from _linear(f"{module}.down_proj", hidden, inner, moe.bias)


def _norm(module: str, config: DecoderConfig) -> Iterator[tuple[str, Shape]]:
    yield f"{module}.weight", (config.hidden_size,)
    if config.norm_bias:
        yield f"{module}.bias", (config.hidden_size,)


def _linear(module: str, rows: int, columns: int, bias: bool) -> Iterator[tuple[str, Shape]]:
    yield f"{module}.weight", (rows, columns)
    if bias:
        yield f"{module}.bias", (rows,)
