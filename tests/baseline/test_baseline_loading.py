"""The baseline's loader reads both layouts as transformers does."""

from pathlib import Path

import pytest
import torch

from headrace.baseline.loading import load_model
from headrace.core.errors import UnsupportedModelError
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_gguf import write_tiny_gguf
from headrace.testing.models.tiny_models import build_tiny_model, write_tiny_model

PROMPT = torch.tensor([[5, 6, 7, 8]])


@pytest.mark.parametrize("layout", ["huggingface", "gguf"])
def test_logits_equal_those_of_the_saved_model(tmp_path: Path, layout: str) -> None:
    files = (
        write_tiny_model(tmp_path / "tiny")
        if layout == "huggingface"
        else write_tiny_gguf(tmp_path / "tiny.gguf")
    )
    loaded = load_model(files, "float32")
    with torch.inference_mode():
        expected = build_tiny_model()(PROMPT).logits
        torch.testing.assert_close(loaded.model(PROMPT).logits, expected)
    assert loaded.max_model_len == 512
    assert loaded.tokenizer("Once upon a time")["input_ids"]


def test_weights_have_the_requested_dtype(tmp_path: Path) -> None:
    loaded = load_model(write_tiny_gguf(tmp_path / "tiny.gguf"), "bfloat16")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}


def test_tied_weights_are_loaded(tmp_path: Path) -> None:
    files = write_tiny_gguf(tmp_path / "tiny.gguf", tie_word_embeddings=True)
    model = load_model(files, "float32").model
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_an_unsupported_model_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no_such_model"}')
    files = ModelFiles(name="odd", format="huggingface", path=tmp_path)
    with pytest.raises(UnsupportedModelError, match="transformers cannot load 'odd'"):
        load_model(files, "float32")
