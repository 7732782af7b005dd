"""Tiny models of random weights in Hugging Face's layout.

Every family that we serve, through transformers' own classes, so that it is theirs to compare
with. Transformers is imported within, as it takes seconds. tiny_gguf writes the same as GGUF.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_families import FAMILIES, LLAMA3_ROPE, TinyArchitecture
from headrace.testing.models.tiny_tokenizer import (
    BOS_TOKEN_ID,
    EOS_TOKEN_ID,
    MIN_VOCAB_SIZE,
    write_tokenizer,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCAB_SIZE = 320
MAX_POSITION = 512

_SHAPE: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,  # large, so that tokens and positions matter
    "tie_word_embeddings": False,
}
_SHARD_BYTES = 100_000


def build_tiny_model(
    architecture: TinyArchitecture = "llama",
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    vocab_size: int = VOCAB_SIZE,
    max_position: int = MAX_POSITION,
    **changes: Any,
) -> "PreTrainedModel":
    """The model in memory, the same for the same arguments; torch's global seed is not changed.

    changes: to transformers' config, such as ``tie_word_embeddings=True``.
    """
    import transformers

    family = FAMILIES[architecture]
    sizes = {"vocab_size": vocab_size, "max_position_embeddings": max_position, **_SHAPE}
    own_sizes = {family.sizes.get(key, key): value for key, value in sizes.items()}
    own_sizes.pop("", None)
    config_class = next(
        getattr(transformers, name)
        for name in (f"{family.name}TextConfig", f"{family.name}Config")
        if hasattr(transformers, name)
    )
    config = config_class(
        **{
            "bos_token_id": BOS_TOKEN_ID,
            "eos_token_id": EOS_TOKEN_ID,
            "pad_token_id": None,
            **own_sizes,
            **_family_config(architecture, max_position),
            **changes,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model_class = family.model_class or f"{family.name}ForCausalLM"
        model = getattr(transformers, model_class)(config)
        randomize_vectors(model)
    return model.to(dtype).eval()  # type: ignore[no-any-return]


def write_tiny_model(
    directory: Path,
    architecture: TinyArchitecture = "llama",
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    vocab_size: int = VOCAB_SIZE,
    max_position: int = MAX_POSITION,
    sharded: bool = False,
    damaged_token_id: int | None = None,
    **changes: Any,
) -> ModelFiles:
    """The model and its tokenizer in a directory, which is created if missing.

    sharded: weights in several files with an index. changes: see ``build_tiny_model``.
    damaged_token_id: the embedding of this token is NaN, so that nothing can be drawn after it.
    """
    if vocab_size < MIN_VOCAB_SIZE:
        raise ValueError(f"vocab_size must be at least {MIN_VOCAB_SIZE}, to hold every byte")
    model = build_tiny_model(
        architecture,
        seed=seed,
        dtype=dtype,
        vocab_size=vocab_size,
        max_position=max_position,
        **changes,
    )
    if damaged_token_id is not None:
        with torch.no_grad():
            table: torch.Tensor = next(model.get_input_embeddings().parameters())
            table[damaged_token_id] = math.nan
    directory.mkdir(parents=True, exist_ok=True)
    if sharded:
        model.save_pretrained(directory, max_shard_size=_SHARD_BYTES)
    else:
        model.save_pretrained(directory)
    write_tokenizer(directory, vocab_size, max_position)
    return ModelFiles(name=f"tiny-{architecture}", format="huggingface", path=directory)


def _family_config(architecture: TinyArchitecture, max_position: int) -> dict[str, Any]:
    config = dict(FAMILIES[architecture].config)
    if architecture == "llama3":
        original = max(max_position // 8, 1)
        rope = {**LLAMA3_ROPE, "original_max_position_embeddings": original}
        config["rope_parameters"] = rope
    return config


def randomize_vectors(model: "PreTrainedModel") -> None:
    """Biases are initialized to zeros and norms to ones, which would hide their omission."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 or "_norm." in name:
            torch.nn.init.normal_(parameter, mean=parameter.detach().mean().item(), std=0.2)
