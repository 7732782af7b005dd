"""Reads a GGUF file's metadata into a DecoderConfig.

Takes from the tensors only what the metadata leaves unsaid: their shapes, their presence and
Llama 3's frequency factors.
"""

import math

import torch

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.config import DecoderConfig, RopeConfig
from headrace.models.loaders.architectures import GgufArchitecture, gguf_architecture
from headrace.models.loaders.gguf.dequantize import dequantize
from headrace.models.loaders.gguf.file import GgufFile, GgufTensor
from headrace.models.loaders.metadata import Metadata, read_num_kv_heads

EMBEDDING = "token_embd.weight"
ROPE_FACTORS = "rope_freqs.weight"
OUTPUT = "output.weight"

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
    hidden_size = config.integer("embedding_length")
    num_heads = config.integer("attention.head_count")
    head_dim = config.integer("attention.key_length", hidden_size // num_heads)
    _check_heads(config, head_dim)
    tensors = file.tensors
    return DecoderConfig(
        architecture=name,
        vocab_size=_vocab_size(file),
        hidden_size=hidden_size,
        intermediate_size=config.integer("feed_forward_length"),
        num_layers=config.integer("block_count"),
        num_heads=num_heads,
        num_kv_heads=_num_kv_heads(config, num_heads),
        head_dim=head_dim,
        max_position=config.integer("context_length"),
        norm_eps=config.number("attention.layer_norm_rms_epsilon", 1e-5),
        rope=_rope(config, file, head_dim),
        qkv_bias="blk.0.attn_q.bias" in tensors,
        attention_output_bias="blk.0.attn_output.bias" in tensors,
        mlp_bias="blk.0.ffn_gate.bias" in tensors,
        qk_norm=architecture.qk_norm,
        sliding_window=config.optional_integer("attention.sliding_window"),
        tie_word_embeddings=OUTPUT not in tensors,
    )


def _check_heads(config: Metadata, head_dim: int) -> None:
    if config.integer("attention.value_length", head_dim) != head_dim:
        raise UnsupportedModelError(
            f"{config.where} has heads of values that are not as long as those of keys, which "
            "Headrace does not compute."
        )
    rotated = config.integer("rope.dimension_count", head_dim)
    if rotated != head_dim:
        raise UnsupportedModelError(
            f"{config.where} rotates {rotated} of each head's {head_dim} dimensions, and Headrace "
            "only whole heads."
        )
    if config.get("expert_count"):
        raise UnsupportedModelError(
            f"{config.where} is a mixture of experts, which Headrace does not compute."
        )


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


def _rope(config: Metadata, file: GgufFile, head_dim: int) -> RopeConfig:
    theta = config.number("rope.freq_base", 10000.0)
    factors = _freq_factors(file.tensors.get(ROPE_FACTORS), head_dim)
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
        return RopeConfig(theta=theta, freq_factors=factors)
    if kind == "linear":
        return RopeConfig(theta=theta, scaling="linear", factor=factor, freq_factors=factors)
    if kind == "yarn":
        return _yarn(config, theta, factor, factors)
    raise UnsupportedModelError(
        f"{config.where} scales its rotary embedding by '{kind}', which Headrace does not "
        "compute. It computes none, linear and yarn."
    )


def _yarn(
    config: Metadata, theta: float, factor: float, factors: tuple[float, ...] | None
) -> RopeConfig:
    original = config.integer(
        "rope.scaling.original_context_length", config.integer("context_length")
    )
    amplitude = config.optional_number("rope.scaling.attn_factor")
    if amplitude is not None:
        amplitude *= 0.1 * math.log(max(factor, 1.0)) + 1.0  # GGUF's comes on top of YaRN's own
    return RopeConfig(
        theta=theta,
        scaling="yarn",
        factor=factor,
        original_max_position=original,
        beta_fast=config.number("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=config.number("rope.scaling.yarn_beta_slow", 1.0),
        attention_factor=amplitude,
        freq_factors=factors,
    )


def _freq_factors(tensor: GgufTensor | None, head_dim: int) -> tuple[float, ...] | None:
    if tensor is None:
        return None
    if tensor.shape != (head_dim // 2,):
        raise ModelFileError(
            f"'{ROPE_FACTORS}' has the shape {list(tensor.shape)} and should have "
            f"{[head_dim // 2]}."
        )
    data = torch.from_numpy(tensor.data)
    factors = dequantize(data, tensor.type_name, tensor.shape, torch.float32, tensor.name)
    return tuple(factors.tolist())
