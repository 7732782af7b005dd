"""The files of sentence-transformers, as it writes them and damaged."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.core.generation.pooling import Pooling
from headrace.models.loaders.huggingface.sentence_config import SentenceConfig, read_sentence_config
from headrace.testing.models.sentence_files import write_sentence_files


def replace(directory: Path, name: str, content: object) -> None:
    (directory / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_no_files_no_config(tmp_path: Path) -> None:
    assert read_sentence_config(tmp_path) is None


@pytest.mark.parametrize("pooling", ["last", "mean", "cls"])
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling_and_normalization(tmp_path: Path, pooling: Pooling, normalize: bool) -> None:
    write_sentence_files(tmp_path, pooling, normalize=normalize)
    expected = SentenceConfig(pooling=pooling, normalize=normalize)
    assert read_sentence_config(tmp_path) == expected


def test_prompts_and_lengths(tmp_path: Path) -> None:
    prompts = {"query": "q: ", "document": "d: "}
    write_sentence_files(
        tmp_path, "last", max_seq_length=40, prompts=prompts, default_prompt_name="query"
    )
    replace(tmp_path, "sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": True})
    assert read_sentence_config(tmp_path) == SentenceConfig(
        pooling="last",
        normalize=True,
        max_seq_length=40,
        lowercase=True,
        prompts=prompts,
        default_prompt="q: ",
    )


@pytest.mark.parametrize("mode", ["mean", ["mean"]])
def test_the_newer_name_of_the_mode(tmp_path: Path, mode: object) -> None:
    write_sentence_files(tmp_path, "last")
    replace(tmp_path, "1_Pooling/config.json", {"embedding_dimension": 4, "pooling_mode": mode})
    found = read_sentence_config(tmp_path)
    assert found is not None
    assert found.pooling == "mean"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "max"}),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "cls"]}),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": False}),
        ("1_Pooling/config.json", {"pooling_mode": "mean", "include_prompt": False}),
        ("modules.json", [{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]),
        ("modules.json", [{"type": "sentence_transformers.models.Transformer", "path": ""}]),
    ],
)
def test_what_is_not_computed_is_refused(tmp_path: Path, name: str, content: Any) -> None:
    write_sentence_files(tmp_path, "mean")
    replace(tmp_path, name, content)
    with pytest.raises(UnsupportedModelError):
        read_sentence_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("modules.json", "["),
        ("modules.json", {"type": "Pooling"}),
        ("modules.json", [{"type": "x.Pooling", "path": "../other"}]),
        ("modules.json", [{"type": "x.Pooling", "path": "missing"}]),
        ("1_Pooling/config.json", "[]"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: Any) -> None:
    write_sentence_files(tmp_path, "mean")
    replace(tmp_path, name, content)
    with pytest.raises(ModelFileError):
        read_sentence_config(tmp_path)
