"""Tiny models: complete directories that transformers and gguf read back."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from headrace.models.loaders.gguf.file import open_gguf
from headrace.testing.models.tiny_families import TinyArchitecture
from headrace.testing.models.tiny_gguf import write_tiny_gguf
from headrace.testing.models.tiny_models import (
    MAX_POSITION,
    VOCAB_SIZE,
    build_tiny_model,
    write_tiny_model,
)
from headrace.testing.models.tiny_tokenizer import BOS, CHAT_TEMPLATE, EOS_TOKEN_ID

TEXT = "The wheel turns, 水 und Mühle!\n"


@pytest.mark.parametrize("architecture", ["llama", "llama3", "mistral", "qwen2", "qwen3"])
def test_transformers_reads_the_model(architecture: TinyArchitecture, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "new" / "model", architecture, seed=3)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "new" / "model")
    expected = build_tiny_model(architecture, seed=3)
    assert type(model) is type(expected)
    for name, weight in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight)
    assert model.config.max_position_embeddings == MAX_POSITION
    assert model.config.eos_token_id == EOS_TOKEN_ID


def test_the_tokenizer_encodes_any_text_and_chats(tmp_path: Path) -> None:
    write_tiny_model(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    token_ids = tokenizer.encode(TEXT)
    assert max(token_ids) < VOCAB_SIZE
    assert tokenizer.decode(token_ids) == TEXT
    assert len(tokenizer.encode("the water of the mill")) < 15  # some words are merged
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == f"{BOS}user: hello\nassistant: "


def test_weights_depend_on_the_seed_and_not_on_torchs() -> None:
    torch.manual_seed(5)
    first = build_tiny_model(seed=1).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    name = "model.layers.1.mlp.down_proj.weight"
    assert torch.equal(first[name], build_tiny_model(seed=1).state_dict()[name])
    assert not torch.equal(first[name], build_tiny_model(seed=2).state_dict()[name])


def test_a_vocabulary_must_include_every_byte(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 258"):
        write_tiny_model(tmp_path, vocab_size=100)


def test_gguf_has_the_same_vocabulary(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "hf", vocab_size=1000)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    metadata = open_gguf(write_tiny_gguf(tmp_path / "m.gguf", vocab_size=1000).path).metadata
    tokens = metadata["tokenizer.ggml.tokens"]
    assert len(tokens) == len(set(tokens)) == 1000
    assert {token: tokens.index(token) for token in tokenizer.get_vocab()} == tokenizer.get_vocab()
    assert metadata["tokenizer.chat_template"] == CHAT_TEMPLATE
    assert metadata["tokenizer.ggml.eos_token_id"] == EOS_TOKEN_ID
