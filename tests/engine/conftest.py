"""Fixtures of several engine tests."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from headrace.models.sources.files import ModelFiles


@pytest.fixture(scope="session")
def fake_files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    """A model directory with tiny weights; its token i is the word ``w<i>``."""
    path = tmp_path_factory.mktemp("model")
    backend = Tokenizer(WordLevel({f"w{i}": i for i in range(1000)}, unk_token="w999"))
    backend.pre_tokenizer = Whitespace()
    backend.save(str(path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "w0"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": 0}))
    save_file({"nothing": np.zeros(1, np.float32)}, path / "model.safetensors")
    return ModelFiles(name="fake", format="huggingface", path=path)
