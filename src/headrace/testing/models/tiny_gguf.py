"""The tiny models as GGUF files, quantized or not, whole or split.

Writes what llama.cpp's converter would write for the models of tiny_models.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np
import numpy.typing as npt
import torch

from headrace.models.loaders.gguf.names import gguf_name
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_models import (
    MAX_POSITION,
    VOCAB_SIZE,
    TinyArchitecture,
    build_tiny_model,
)
from headrace.testing.models.tiny_tokenizer import (
    BOS_TOKEN_ID,
    CHAT_TEMPLATE,
    EOS_TOKEN_ID,
    GgufVocabulary,
    gguf_vocabulary,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PERMUTED = ("llama", "llama3", "mistral")
"""Families that GGUF calls "llama", whose rotary pairs are adjacent."""


def write_tiny_gguf(
    path: Path,
    architecture: TinyArchitecture = "llama",
    *,
    quantization: str = "F32",
    seed: int = 0,
    vocab_size: int = VOCAB_SIZE,
    max_position: int = MAX_POSITION,
    max_tensors_per_file: int = 0,
    control_tokens: tuple[str, ...] = (),
    eos_token_id: int = EOS_TOKEN_ID,
    chat_template: str = CHAT_TEMPLATE,
    **changes: Any,
) -> ModelFiles:
    """The weights of ``build_tiny_model`` for the same arguments.

    quantization: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 or Q5_1, of the matrices; vectors stay F32.
    max_tensors_per_file: 0 for one file; else parts are named after ``path``, and the first one
    is the model's path.
    control_tokens: texts of special tokens, which take the last ids of the vocabulary.
    """
    model = build_tiny_model(
        architecture, seed=seed, vocab_size=vocab_size, max_position=max_position, **changes
    )
    permuted = architecture in _PERMUTED
    writer = gguf.GGUFWriter(
        path, "llama" if permuted else architecture, split_max_tensors=max_tensors_per_file
    )
    _add_shape(writer, model.config)
    _add_tokenizer(writer, gguf_vocabulary(vocab_size, control_tokens), eos_token_id, chat_template)
    kind = gguf.GGMLQuantizationType[quantization]
    for name, weight in _weights(model, permuted).items():
        _add_tensor(writer, gguf_name(name), weight, kind)
    if architecture == "llama3":
        _add_tensor(writer, "rope_freqs.weight", _rope_factors(model), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    written = (
        path if path.exists() else next(iter(sorted(path.parent.glob(f"{path.stem}-00001-*"))))
    )
    return ModelFiles(name=f"tiny-{architecture}", format="gguf", path=written)


def _add_shape(writer: Any, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = _head_dim(config)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)


def _add_tokenizer(
    writer: Any, vocabulary: GgufVocabulary, eos_token_id: int, chat_template: str
) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(BOS_TOKEN_ID)
    writer.add_eos_token_id(eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat_template)


def _weights(model: "PreTrainedModel", permuted: bool) -> dict[str, torch.Tensor]:
    """By canonical name, with rows of q and k in GGUF's order."""
    config = model.config
    weights = dict(model.state_dict())
    if config.tie_word_embeddings:
        del weights["lm_head.weight"]
    if not permuted:
        return weights
    for name, weight in weights.items():
        if ".q_proj." in name:
            weights[name] = _interleave_heads(weight, config.num_attention_heads)
        elif ".k_proj." in name:
            weights[name] = _interleave_heads(weight, config.num_key_value_heads)
    return weights


def _add_tensor(
    writer: Any, name: str, weight: torch.Tensor, kind: gguf.GGMLQuantizationType
) -> None:
    array: npt.NDArray[np.float32] = weight.detach().float().contiguous().numpy()
    if weight.dim() == 1:
        kind = gguf.GGMLQuantizationType.F32
    writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)


def _interleave_heads(weight: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Rows (a0 a1 ... b0 b1 ...) of each head as (a0 b0 a1 b1 ...)."""
    half = len(weight) // num_heads // 2
    halves = weight.view(num_heads, 2, half, *weight.shape[1:])
    interleaved: torch.Tensor = halves.transpose(1, 2).reshape(weight.shape)
    return interleaved


def _rope_factors(model: "PreTrainedModel") -> torch.Tensor:
    """Plain frequencies over those of transformers: [head_dim / 2]."""
    head_dim = _head_dim(model.config)
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
    plain = 1.0 / model.config.rope_parameters["rope_theta"] ** exponents
    scaled: torch.Tensor = model.model.rotary_emb.inv_freq
    factors: torch.Tensor = plain / scaled
    return factors


def _head_dim(config: Any) -> int:
    explicit = getattr(config, "head_dim", None)
    return int(explicit or config.hidden_size // config.num_attention_heads)
