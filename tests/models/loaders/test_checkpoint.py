"""Directories in Hugging Face's layout, from files to weights: whole, sharded and damaged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.loaders.checkpoint import open_checkpoint
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_families import TinyArchitecture
from headrace.testing.models.tiny_models import build_tiny_model, write_tiny_model

INDEX = "model.safetensors.index.json"


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    return write_tiny_model(tmp_path)


def write_json(path: Path, **changes: Any) -> None:
    values = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**values, **changes}))


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "llama3", "mistral", "qwen2", "qwen3"])
def test_every_weight_is_read(
    architecture: TinyArchitecture, sharded: bool, tmp_path: Path
) -> None:
    files = write_tiny_model(tmp_path, architecture, sharded=sharded)
    assert (tmp_path / INDEX).is_file() == sharded
    checkpoint = open_checkpoint(files)
    model = build_tiny_model(architecture)
    for name, expected in model.state_dict().items():
        assert torch.equal(checkpoint.weights.read(name, torch.float32), expected), name
    assert checkpoint.num_parameters == model.num_parameters()
    assert checkpoint.stored_dtype == torch.float32
    assert checkpoint.files == files


def test_stored_and_read_types(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_tiny_model(tmp_path, dtype=torch.bfloat16))
    assert checkpoint.stored_dtype == torch.bfloat16
    assert checkpoint.weights.read("model.norm.weight", torch.float32).dtype == torch.float32


def test_a_tied_embedding_counts_once(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_tiny_model(tmp_path, tie_word_embeddings=True))
    assert checkpoint.config.tie_word_embeddings
    assert "lm_head.weight" not in set(checkpoint.weights.names())
    assert checkpoint.num_parameters == build_tiny_model(tie_word_embeddings=True).num_parameters()


def test_end_tokens_and_recommended_sampling_are_read(files: ModelFiles) -> None:
    write_json(files.path / "config.json", eos_token_id=7)
    write_json(
        files.path / "generation_config.json",
        eos_token_id=[8, 9],
        temperature=0.6,
        top_p=None,
        do_sample=True,
    )
    checkpoint = open_checkpoint(files)
    assert checkpoint.eos_token_ids == {7, 8, 9}
    assert checkpoint.generation_defaults == {"temperature": 0.6}


def test_generation_config_and_eos_are_optional(files: ModelFiles) -> None:
    (files.path / "generation_config.json").unlink()
    write_json(files.path / "config.json", eos_token_id=None)
    checkpoint = open_checkpoint(files)
    assert checkpoint.eos_token_ids == frozenset()
    assert checkpoint.generation_defaults == {}


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    files = write_tiny_model(tmp_path, sharded=True)
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ModelFileError, match=f"{shard.name}' is missing"):
        open_checkpoint(files)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.9])
def test_a_truncated_file_is_named(files: ModelFiles, share: float) -> None:
    weights = files.path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelFileError, match=r"model\.safetensors' is damaged or incomplete"):
        open_checkpoint(files)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_damaged_config_is_named(files: ModelFiles, name: str) -> None:
    (files.path / name).write_text('{"half": ')
    with pytest.raises(ModelFileError, match=f"{name}' is damaged"):
        open_checkpoint(files)


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    files = write_tiny_model(tmp_path, sharded=True)
    (tmp_path / INDEX).write_text("[]")
    with pytest.raises(ModelFileError, match=r"index\.json' is damaged"):
        open_checkpoint(files)


def test_pickled_weights_are_refused_with_a_remedy(files: ModelFiles) -> None:
    (files.path / "model.safetensors").rename(files.path / "pytorch_model.bin")
    with pytest.raises(UnsupportedModelError, match="Convert it to safetensors"):
        open_checkpoint(files)


def test_inconsistent_shapes_are_detected_before_loading(files: ModelFiles) -> None:
    write_json(files.path / "config.json", intermediate_size=96)
    with pytest.raises(ModelFileError, match=r"gate_proj.*\[128, 64\].*\[96, 64\]"):
        open_checkpoint(files)
    write_json(files.path / "config.json", intermediate_size=128, num_hidden_layers=3)
    with pytest.raises(ModelFileError, match=r"lacks the weight 'model\.layers\.2\."):
        open_checkpoint(files)


def test_unsupported_dtypes_are_named(files: ModelFiles) -> None:
    weights = load_file(files.path / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"].to(torch.int8)
    save_file(weights, files.path / "model.safetensors")
    with pytest.raises(UnsupportedModelError, match=r"'lm_head\.weight' has the type I8"):
        open_checkpoint(files).weights.read("lm_head.weight", torch.float32)


def test_a_missing_weight_is_named(files: ModelFiles) -> None:
    with pytest.raises(ModelFileError, match=r"no weight 'nothing\.weight'"):
        open_checkpoint(files).weights.read("nothing.weight", torch.float32)


def test_a_damaged_number_of_layers_allocates_no_memory(files: ModelFiles) -> None:
    write_json(files.path / "config.json", num_hidden_layers=10**12)
    with pytest.raises(ModelFileError, match=r"lacks the weight 'model\.layers\.2\."):
        open_checkpoint(files)


def test_the_decoder_of_a_model_with_images(tmp_path: Path) -> None:
    """Gemma 3 with images: another description and other names around the same decoder."""
    files = write_tiny_model(tmp_path, "gemma3")
    expected = open_checkpoint(files)
    text = json.loads((tmp_path / "config.json").read_text())
    write_json(
        tmp_path / "config.json",
        architectures=["Gemma3ForConditionalGeneration"],
        text_config=text,
        tie_word_embeddings=True,
    )
    weights = load_file(tmp_path / "model.safetensors")
    renamed = {f"language_model.{name}": weight for name, weight in weights.items()}
    renamed["vision_tower.layers.0.mlp.up_proj.weight"] = torch.zeros(2, 2)
    save_file(renamed, tmp_path / "model.safetensors")
    found = open_checkpoint(files)
    assert set(found.weights.names()) == set(expected.weights.names())
    assert replace(found.config, architecture="") == replace(expected.config, architecture="")
    for name in expected.weights.names():
        theirs = expected.weights.read(name, torch.float32)
        assert torch.equal(found.weights.read(name, torch.float32), theirs)
