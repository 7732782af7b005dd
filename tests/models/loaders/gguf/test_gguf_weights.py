"""GGUF files read as weights: the same as Hugging Face's, quantized, split and damaged."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import ModelError, ModelFileError, UnsupportedModelError
from headrace.models.config import RopeConfig
from headrace.models.loaders.checkpoint import open_checkpoint
from headrace.models.loaders.gguf.file import open_gguf
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_families import TinyArchitecture
from headrace.testing.models.tiny_gguf import write_tiny_gguf
from headrace.testing.models.tiny_models import write_tiny_model

ARCHITECTURES: list[TinyArchitecture] = ["llama", "llama3", "mistral", "qwen2", "qwen3"]


def files_of(path: Path) -> ModelFiles:
    return ModelFiles(name="test", format="gguf", path=path)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equal_to_hugging_face(architecture: TinyArchitecture, tied: bool, tmp_path: Path) -> None:
    theirs = open_checkpoint(
        write_tiny_model(tmp_path / "hf", architecture, tie_word_embeddings=tied)
    )
    ours = open_checkpoint(
        write_tiny_gguf(tmp_path / "m.gguf", architecture, tie_word_embeddings=tied)
    )
    assert ours.config.tie_word_embeddings == tied
    assert set(ours.weights.names()) == set(theirs.weights.names())
    for name in ours.weights.names():
        expected = theirs.weights.read(name, torch.float32)
        assert torch.equal(ours.weights.read(name, torch.float32), expected), name
    assert ours.num_parameters == theirs.num_parameters
    assert ours.eos_token_ids == theirs.eos_token_ids
    assert ours.stored_dtype == theirs.stored_dtype == torch.float32


@pytest.mark.parametrize(
    ("quantization", "tolerance"),
    [("F16", 1e-3), ("BF16", 4e-3), ("Q8_0", 0.01), ("Q5_1", 0.05), ("Q4_0", 0.15), ("Q4_1", 0.1)],
)
def test_quantized_weights_are_close(quantization: str, tolerance: float, tmp_path: Path) -> None:
    exact = open_checkpoint(write_tiny_gguf(tmp_path / "exact.gguf")).weights
    near = open_checkpoint(write_tiny_gguf(tmp_path / "near.gguf", quantization=quantization))
    for name in exact.names():
        expected = exact.read(name, torch.float32)
        error = (near.weights.read(name, torch.float32) - expected).std() / expected.std()
        assert error < tolerance, name
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(near.weights.read(name, torch.float32), exact.read(name, torch.float32))
    assert near.stored_dtype == (torch.float16 if quantization == "F16" else torch.bfloat16)


def test_split_files_are_read(tmp_path: Path) -> None:
    whole = open_checkpoint(write_tiny_gguf(tmp_path / "whole.gguf"))
    files = write_tiny_gguf(tmp_path / "split.gguf", max_tensors_per_file=8)
    assert files.path.name == "split-00001-of-00003.gguf"
    split = open_checkpoint(files)
    assert split.config == whole.config
    for name in whole.weights.names():
        expected = whole.weights.read(name, torch.float32)
        assert torch.equal(split.weights.read(name, torch.float32), expected)

    (tmp_path / "split-00003-of-00003.gguf").unlink()
    with pytest.raises(ModelFileError, match=r"split-00003-of-00003\.gguf' is missing"):
        open_checkpoint(files)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.03, 0.1, 0.5, 0.99])
def test_truncated_files_are_reported(share: float, tmp_path: Path) -> None:
    files = write_tiny_gguf(tmp_path / "m.gguf")
    whole = files.path.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelFileError, match=r"cut\.gguf"):
        open_checkpoint(files_of(cut))


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "m.gguf"
    return write_tiny_gguf(path).path.read_bytes()


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 20000), byte=st.integers(0, 255))
def test_a_damaged_byte_is_an_error_or_harmless(
    place: int, byte: int, whole_file: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(whole_file[:place] + bytes([byte]) + whole_file[place + 1 :])
    try:
        weights = open_checkpoint(files_of(path)).weights
        for name in weights.names():
            weights.read(name, torch.float32)
    except ModelError:
        return  # reported; a damaged name or number may be undetected


def test_other_formats_and_newer_versions_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"<!DOCTYPE html>" * 10)
    with pytest.raises(ModelFileError, match="not a GGUF file"):
        open_gguf(file)
    file.write_bytes(b"GGUF" + bytes([9, 0, 0, 0]) + bytes(16))
    with pytest.raises(UnsupportedModelError, match="version 9"):
        open_gguf(file)


def test_metadata_equals_the_gguf_packages(tmp_path: Path) -> None:
    files = write_tiny_gguf(tmp_path / "m.gguf")
    ours = open_gguf(files.path)
    theirs = gguf.GGUFReader(files.path)
    fields = {name: f for name, f in theirs.fields.items() if not name.startswith("GGUF.")}
    assert dict(ours.metadata) == {name: field.contents() for name, field in fields.items()}
    assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        own = ours.tensors[tensor.name]
        assert own.shape == tuple(reversed(tensor.shape.tolist()))
        assert np.array_equal(own.data, tensor.data.reshape(-1).view(np.uint8))


def test_unsupported_dtypes_are_named(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    kind = gguf.GGMLQuantizationType.IQ4_NL
    writer.add_tensor("token_embd.weight", np.zeros((4, 18), np.uint8), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensor = open_gguf(tmp_path / "m.gguf").tensors["token_embd.weight"]
    assert (tensor.type_name, tensor.shape) == ("IQ4_NL", (4, 32))


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    weights = open_checkpoint(write_tiny_gguf(tmp_path / "m.gguf")).weights
    with pytest.raises(ModelFileError, match=r"no weight 'nothing\.weight'"):
        weights.read("nothing.weight", torch.float32)


def test_the_default_model(default_model_files: ModelFiles) -> None:
    checkpoint = open_checkpoint(default_model_files)
    config = checkpoint.config
    assert (config.num_layers, config.num_heads, config.num_kv_heads) == (30, 9, 3)
    assert config.rope == RopeConfig(theta=100000.0)
    assert config.tie_word_embeddings
    assert checkpoint.num_parameters == 134_515_008
    assert checkpoint.eos_token_ids == {0, 2}  # <|endoftext|> too, by its text
    query = checkpoint.weights.read("model.layers.0.self_attn.q_proj.weight", torch.float32)
    assert query.shape == (576, 576)
    assert 0 < query.std() < 1
