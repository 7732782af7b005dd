"""What a model is served for: from --task, and from its files."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.core.errors import UnsupportedModelError
from headrace.engine.config import EngineConfig
from headrace.engine.pooling.task import PoolingPlan, plan_pooling
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.sentence_files import write_sentence_files

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
EMBEDDER = {"architectures": ["Qwen3Model"], "model_type": "qwen3"}
CLASSIFIER = {"architectures": ["Qwen3ForSequenceClassification"], "model_type": "qwen3"}
BERT = {"architectures": ["BertModel"], "model_type": "bert"}
MASKED = {"architectures": ["BertForMaskedLM"], "model_type": "bert"}
CROSS_ENCODER = {"architectures": ["BertForSequenceClassification"], "model_type": "bert"}


def plan(directory: Path, config: dict[str, Any], **options: Any) -> PoolingPlan | None:
    (directory / "config.json").write_text(json.dumps(config))
    files = ModelFiles(name="m", format="huggingface", path=directory)
    return plan_pooling(EngineConfig(model="m", **options), files)


@pytest.mark.parametrize(
    ("config", "task", "pooling", "is_encoder"),
    [
        (EMBEDDER, "embed", "last", False),
        (CLASSIFIER, "classify", "last", False),
        (BERT, "embed", "mean", True),
        (MASKED, "embed", "mean", True),
        (CROSS_ENCODER, "classify", "mean", True),
    ],
)
def test_files_choose_the_task(
    tmp_path: Path, config: dict[str, Any], task: str, pooling: str, is_encoder: bool
) -> None:
    found = plan(tmp_path, config)
    assert found is not None
    assert (found.task, found.pooling, found.is_encoder) == (task, pooling, is_encoder)
    assert found.normalize


def test_a_model_that_generates_generates_unless_asked(tmp_path: Path) -> None:
    assert plan(tmp_path, LLAMA) is None
    assert plan(tmp_path, {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}) is None
    embedder = plan(tmp_path, LLAMA, task="embed", pooling_type="mean")
    assert embedder is not None
    assert (embedder.task, embedder.pooling) == ("embed", "mean")


def test_sentence_transformers_files_make_an_embedder(tmp_path: Path) -> None:
    write_sentence_files(tmp_path, "cls", normalize=False, max_seq_length=9)
    found = plan(tmp_path, LLAMA)
    assert found is not None
    assert (found.task, found.pooling, found.normalize) == ("embed", "cls", False)
    assert found.max_seq_length == 9
    assert plan(tmp_path, LLAMA, task="generate") is None


@pytest.mark.parametrize(
    ("config", "task"),
    [(LLAMA, "classify"), (BERT, "generate"), (BERT, "classify"), (CLASSIFIER, "generate")],
)
def test_a_task_that_the_model_cannot_do_is_refused(
    tmp_path: Path, config: dict[str, Any], task: str
) -> None:
    with pytest.raises(UnsupportedModelError):
        plan(tmp_path, config, task=task)


def test_gguf_files_embed_if_asked(tmp_path: Path) -> None:
    files = ModelFiles(name="m", format="gguf", path=tmp_path / "m.gguf")
    assert plan_pooling(EngineConfig(model="m"), files) is None
    found = plan_pooling(EngineConfig(model="m", task="embed"), files)
    assert found is not None
    assert (found.task, found.pooling) == ("embed", "last")
    with pytest.raises(UnsupportedModelError):
        plan_pooling(EngineConfig(model="m", task="classify"), files)


def test_labels_are_in_the_order_of_the_logits(tmp_path: Path) -> None:
    names = {"10": "ten", "2": "two", "0": "zero"}
    found = plan(tmp_path, {**CLASSIFIER, "id2label": names})
    assert found is not None
    assert found.labels == ("zero", "two", "ten")
    default = plan(tmp_path, CLASSIFIER)
    assert default is not None
    assert default.labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize(
    ("keys", "activation"),
    [
        ({"id2label": {"0": "LABEL_0"}}, "sigmoid"),
        ({}, "softmax"),
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "identity"),
        (
            {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}},
            "sigmoid",
        ),
    ],
)
def test_the_activation_of_a_cross_encoder(
    tmp_path: Path, keys: dict[str, Any], activation: str
) -> None:
    found = plan(tmp_path, {**CROSS_ENCODER, **keys})
    assert found is not None
    assert found.activation == activation


def test_another_activation_is_refused(tmp_path: Path) -> None:
    name = "torch.nn.modules.activation.Tanh"
    with pytest.raises(UnsupportedModelError):
        plan(tmp_path, {**CROSS_ENCODER, "sbert_ce_default_activation_function": name})
