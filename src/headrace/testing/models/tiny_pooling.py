"""Tiny embedding models and classifiers, through transformers' own classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from tokenizers import Tokenizer, processors

from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_models import MAX_POSITION, VOCAB_SIZE, randomize_vectors
from headrace.testing.models.tiny_tokenizer import (
    BOS,
    BOS_TOKEN_ID,
    EOS,
    EOS_TOKEN_ID,
    write_tokenizer,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TinyFamily = Literal["Llama", "Qwen2", "Qwen3", "Bert", "Roberta", "XLMRoberta", "ModernBert"]
"""The first part of the names of transformers' classes."""

_ENCODERS = ("Bert", "Roberta", "XLMRoberta", "ModernBert")
_SHAPE: Mapping[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": MAX_POSITION,
    "initializer_range": 0.2,  # large, so that tokens and positions matter
    "bos_token_id": BOS_TOKEN_ID,
    "eos_token_id": EOS_TOKEN_ID,
    "pad_token_id": 1,
}


def build_tiny_net(
    family: TinyFamily, *, num_labels: int | None = None, seed: int = 0, **changes: Any
) -> "PreTrainedModel":
    """num_labels: of a sequence classifier; None: the net without an output layer."""
    import transformers

    shape = dict(_SHAPE)
    if family not in _ENCODERS:
        shape["num_key_value_heads"] = 2
    if family == "Qwen3":
        shape["head_dim"] = 32
    if family == "ModernBert":
        shape |= {"cls_token_id": BOS_TOKEN_ID, "sep_token_id": EOS_TOKEN_ID}
    labels = {} if num_labels is None else {"num_labels": num_labels}
    config = getattr(transformers, f"{family}Config")(**{**shape, **labels, **changes})
    name = f"{family}{'Model' if num_labels is None else 'ForSequenceClassification'}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, name)(config)
        randomize_vectors(model)
    return model.eval()  # type: ignore[no-any-return]


def write_tiny_net(
    directory: Path, family: TinyFamily, *, num_labels: int | None = None, **changes: Any
) -> ModelFiles:
    """The net of ``build_tiny_net`` with a tokenizer that can join two texts."""
    directory.mkdir(parents=True, exist_ok=True)
    build_tiny_net(family, num_labels=num_labels, **changes).save_pretrained(directory)
    write_tokenizer(directory, VOCAB_SIZE, MAX_POSITION)
    _add_pairs(directory / "tokenizer.json")
    return ModelFiles(name=f"tiny-{family.lower()}", format="huggingface", path=directory)


def _add_pairs(file: Path) -> None:
    """<s> first </s>, or <s> first </s> second </s> with the second's type 1, as BERT's."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}",
        pair=f"{BOS} $A {EOS} $B:1 {EOS}:1",
        special_tokens=[(BOS, BOS_TOKEN_ID), (EOS, EOS_TOKEN_ID)],
    )
    tokenizer.save(str(file))
