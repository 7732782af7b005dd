"""Decides what a model is served for, from the option --task and from its files.

Reads descriptions only, without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.core.generation.pooling import PooledTask, Pooling
from headrace.engine.config import EngineConfig, PoolingType, Task
from headrace.models.loaders.huggingface.sentence_config import SentenceConfig, read_sentence_config
from headrace.models.sources.files import ModelFiles

ENCODERS = frozenset(
    {
        *("bert", "roberta", "xlm-roberta", "camembert", "modernbert"),
        *("distilbert", "electra", "mpnet"),
    }
)
"""``model_type`` of the encoder-only families that are served through transformers' code."""

_CLASSIFIER = "ForSequenceClassification"

Activation = Literal["identity", "sigmoid", "softmax"]

_ACTIVATIONS: Mapping[str, Activation] = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.modules.activation.Softmax": "softmax",
}
"""By the names in a cross-encoder's config.json."""


@dataclass(frozen=True, kw_only=True)
class PoolingPlan:
    """How a model that pools is to be loaded."""

    task: PooledTask
    is_encoder: bool
    pooling: Pooling
    why: str
    """Where task and pooling come from."""
    normalize: bool
    """Of embeddings, unless the request says otherwise."""
    activation: Activation
    """Of a classifier, likewise."""
    labels: tuple[str, ...]
    """Of a classifier."""
    max_seq_length: int | None = None


def plan_pooling(config: EngineConfig, files: ModelFiles) -> PoolingPlan | None:
    """None for a model that is served to generate text.

    Raises UnsupportedModelError when the model cannot do the task of --task.
    """
    if files.format == "gguf":
        return _plan_gguf(config, files)
    values = read_config(files.path)
    name = _architecture(values)
    is_encoder = values.get("model_type") in ENCODERS
    is_classifier = name.endswith(_CLASSIFIER)
    sentence = read_sentence_config(files.path)
    task = config.task
    if task == "auto":
        task = _task_of(name, is_encoder, is_classifier, sentence)
    _check_task(task, name, is_encoder, is_classifier)
    if task == "generate":
        return None
    pooling, why = _choose_pooling(config.pooling_type, is_encoder, sentence)
    if task == "classify" and not is_encoder:
        pooling, why = "last", f"{name}"
    labels = _labels(values) if task == "classify" else ()
    return PoolingPlan(
        task="classify" if task == "classify" else "embed",
        is_encoder=is_encoder,
        pooling=pooling,
        why=why,
        normalize=sentence is None or sentence.normalize,
        activation=_activation(values, len(labels)),
        labels=labels,
        max_seq_length=None if sentence is None else sentence.max_seq_length,
    )


def read_config(directory: Path) -> dict[str, Any]:
    """config.json; empty where there is none, which the loader reports."""
    file = directory / "config.json"
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise ModelFileError(f"'{file}' is damaged: {error}. Fetch it again.") from error


def _plan_gguf(config: EngineConfig, files: ModelFiles) -> PoolingPlan | None:
    if config.task in ("auto", "generate"):
        return None
    if config.task == "classify":
        raise UnsupportedModelError(
            f"'{files.path}' is a GGUF file, and Headrace reads no classification head from these. "
            "Serve the model's safetensors."
        )
    pooling, why = _choose_pooling(config.pooling_type, False, None)
    return PoolingPlan(
        task="embed",
        is_encoder=False,
        pooling=pooling,
        why=why,
        normalize=True,
        activation="identity",
        labels=(),
    )


def _architecture(values: Mapping[str, Any]) -> str:
    names = values.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _task_of(
    name: str, is_encoder: bool, is_classifier: bool, sentence: SentenceConfig | None
) -> Task:
    if is_classifier:
        return "classify"
    is_headless = name.endswith("Model") and not name.endswith("LMHeadModel")
    return "embed" if is_encoder or sentence is not None or is_headless else "generate"


def _check_task(task: Task, name: str, is_encoder: bool, is_classifier: bool) -> None:
    if task == "generate" and (is_encoder or is_classifier):
        raise UnsupportedModelError(
            f"{name} generates no text. Serve it with --task "
            f"{'classify' if is_classifier else 'embed'}."
        )
    if task == "classify" and not is_classifier:
        raise UnsupportedModelError(
            f"{name or 'The model'} has no classification head. Serve it with --task embed, or a "
            f"model whose architecture ends in {_CLASSIFIER}."
        )


def _choose_pooling(
    requested: PoolingType, is_encoder: bool, sentence: SentenceConfig | None
) -> tuple[Pooling, str]:
    if requested != "auto":
        return requested, "as configured"
    if sentence is not None:
        return sentence.pooling, "from modules.json"
    if is_encoder:
        return "mean", "the default of encoders"
    return "last", "the default of decoders"


def _labels(values: Mapping[str, Any]) -> tuple[str, ...]:
    """In the order of the logits. transformers has two labels where config.json says nothing."""
    named = values.get("id2label")
    if isinstance(named, dict) and named:
        return tuple(str(named[key]) for key in sorted(named, key=_label_order))
    count = values.get("num_labels")
    return tuple(f"LABEL_{index}" for index in range(count if isinstance(count, int) else 2))


def _label_order(key: str) -> int:
    if not key.isdecimal():
        raise ModelFileError(f"config.json has the label {key!r} in id2label; expected a number.")
    return int(key)


def _activation(values: Mapping[str, Any], num_labels: int) -> Activation:
    """As sentence-transformers' CrossEncoder reads it; else sigmoid for one label and softmax for
    several."""
    nested = values.get("sentence_transformers")
    name = nested.get("activation_fn") if isinstance(nested, dict) else None
    name = name or values.get("sbert_ce_default_activation_function")
    if name is None:
        return "sigmoid" if num_labels == 1 else "softmax"
    if name in _ACTIVATIONS:
        return _ACTIVATIONS[name]
    raise UnsupportedModelError(
        f"config.json names the activation {name}, which Headrace does not compute. It computes "
        f"{', '.join(_ACTIVATIONS)}."
    )
