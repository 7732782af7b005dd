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
    yield "model.norm.weight", (hidden,)
    if config.has_output_layer and not config.tie_word_embeddings:
        yield "lm_head.weight", (config.vocab_size, hidden)
    layer = _layer_shapes(config)
    for index in range(config.num_layers):
        for name, shape in layer.items():
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


def _layer_shapes(config: DecoderConfig) -> dict[str, Shape]:
    hidden, inner = config.hidden_size, config.intermediate_size
    queries = config.num_heads * config.head_dim
    keys = config.num_kv_heads * config.head_dim
    shapes: dict[str, Shape] = {
        "input_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (queries, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, queries),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }
    if config.qkv_bias:
        shapes["self_attn.q_proj.bias"] = (queries,)
        shapes["self_attn.k_proj.bias"] = (keys,)
        shapes["self_attn.v_proj.bias"] = (keys,)
    if config.attention_output_bias:
        shapes["self_attn.o_proj.bias"] = (hidden,)
    if config.mlp_bias:
        shapes["mlp.gate_proj.bias"] = (inner,)
        shapes["mlp.up_proj.bias"] = (inner,)
        shapes["mlp.down_proj.bias"] = (hidden,)
    if config.qk_norm:
        shapes["self_attn.q_norm.weight"] = (config.head_dim,)
        shapes["self_attn.k_norm.weight"] = (config.head_dim,)
    return shapes
