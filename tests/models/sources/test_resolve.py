"""The forms of MODEL, their order, and the error for any other value."""

import json
import os
from pathlib import Path

import pytest

from headrace.core.errors import ModelError, ModelFileError, ModelNotFoundError
from headrace.models.sources import resolve_model

pytestmark = pytest.mark.usefixtures("home")


def test_directory_in_hugging_face_layout(tmp_path: Path) -> None:
    directory = make_directory(tmp_path / "model", "model.safetensors")
    files = resolve_model(str(directory))
    assert (files.name, files.format, files.path) == (str(directory), "huggingface", directory)


def test_a_directory_takes_precedence_over_hub_ids_and_short_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_directory(tmp_path / "org" / "name", "model.safetensors")
    make_directory(tmp_path / "smollm2-135m", "model.safetensors")
    assert resolve_model("org/name").path == Path("org/name")
    assert resolve_model("smollm2-135m").format == "huggingface"


def test_a_directory_without_config_suggests_its_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF....")
    with pytest.raises(ModelNotFoundError, match=r"without config\.json.*tiny\.gguf"):
        resolve_model(str(tmp_path))


def test_directory_without_weights(tmp_path: Path) -> None:
    make_directory(tmp_path / "model")
    with pytest.raises(ModelFileError, match=r"lacks \*\.safetensors"):
        resolve_model(str(tmp_path / "model"))


@pytest.mark.parametrize("with_index", [True, False])
def test_directory_with_a_missing_shard(tmp_path: Path, with_index: bool) -> None:
    first, second = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    directory = make_directory(tmp_path / "model", first)
    if with_index:
        index = {"weight_map": {"a": first, "b": second}}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFileError, match=f"lacks {second}"):
        resolve_model(str(directory))
    (directory / second).touch()
    assert resolve_model(str(directory)).path == directory


def test_damaged_weights_index(tmp_path: Path) -> None:
    directory = make_directory(tmp_path / "model", "model.safetensors")
    (directory / "model.safetensors.index.json").write_text('{"weight_map": {')
    with pytest.raises(ModelFileError, match="damaged"):
        resolve_model(str(directory))


def test_gguf_file_also_below_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF....")
    files = resolve_model("~/tiny.gguf")
    assert (files.name, files.format, files.path) == ("~/tiny.gguf", "gguf", tmp_path / "tiny.gguf")


def test_file_that_is_not_gguf(tmp_path: Path) -> None:
    (tmp_path / "fake.gguf").write_bytes(b"<html>")
    with pytest.raises(ModelFileError, match="does not begin with 'GGUF'"):
        resolve_model(str(tmp_path / "fake.gguf"))
    (tmp_path / "weights.bin").write_bytes(b"GGUF")
    with pytest.raises(ModelNotFoundError, match=r"not a \.gguf file"):
        resolve_model(str(tmp_path / "weights.bin"))


def test_any_part_of_a_complete_split_gguf_selects_the_model(tmp_path: Path) -> None:
    parts = [tmp_path / f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    parts[0].write_bytes(b"GGUF")
    parts[2].write_bytes(b"GGUF")
    with pytest.raises(ModelFileError, match=f"3 parts; missing: {parts[1].name}"):
        resolve_model(str(parts[0]))
    parts[1].write_bytes(b"GGUF")
    assert {resolve_model(str(part)).path for part in parts} == {parts[0]}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"GGUF")
    file.chmod(0)
    with pytest.raises(ModelFileError, match="permission denied"):
        resolve_model(str(file))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("smollm2-135n", r"Did you mean smollm2-135m\? A model is a short name"),
        ("SmolLM2-135M", "Did you mean smollm2-135m"),
        ("zzz", "no model 'zzz'. A model is .*config.json.*gguf.*pypi:.*org/name"),
        ("", "A model is"),
        ("x" * 5000, "A model is"),
        ("a/b/c", "A model is"),
        ("nul\0byte", "A model is"),
        ("./nothing", "no file or directory './nothing'"),
        ("nothing.gguf", "no file or directory"),
        ("pypi:", "Write pypi:PACKAGE"),
        ("pypi:--index-url=x", "Write pypi:PACKAGE"),
        ("pypi:name @ file:///etc", "Write pypi:PACKAGE"),
        ("pypi:a==../b", "Write pypi:PACKAGE"),
    ],
)
def test_an_unknown_model_is_an_error_that_lists_the_forms(model: str, said: str) -> None:
    with pytest.raises(ModelNotFoundError, match=said):
        resolve_model(model)


def test_revision_is_for_hub_ids_only(tmp_path: Path) -> None:
    for model in (str(make_directory(tmp_path / "m", "a.safetensors")), "smollm2-135m"):
        with pytest.raises(ModelError, match="no revisions"):
            resolve_model(model, revision="main")


def make_directory(directory: Path, *weights: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    for name in weights:
        (directory / name).touch()
    return directory
