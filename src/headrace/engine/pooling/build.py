"""Builds the runners of models that give vectors."""

from collections.abc import Callable
from typing import Any

import torch

from headrace.core.errors import ModelFileError
from headrace.core.generation.pooling import PoolingSpec
from headrace.engine.config import EngineConfig
from headrace.engine.execution.model_runner import build_decoder
from headrace.engine.pooling.encoder_runner import EncoderRunner
from headrace.engine.pooling.heads import EmbeddingHead, Head, LogitsHead, ScoreHead
from headrace.engine.pooling.pooler import Pooler
from headrace.engine.pooling.pooling_runner import PoolingRunner
from headrace.engine.pooling.task import PoolingPlan
from headrace.models.loaders.checkpoint import Checkpoint
from headrace.models.loaders.huggingface.transformers_config import load_config
from headrace.models.loaders.layout import SCORE
from headrace.models.sources.files import ModelFiles
from headrace.models.transformers.loading import load_model

_OFFSET_FAMILIES = ("roberta", "xlm-roberta", "camembert", "mpnet")
_POOLER_FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet")
SCORE_WEIGHT = f"{SCORE}.weight"


def build_pooling_runner(
    checkpoint: Checkpoint,
    config: EngineConfig,
    plan: PoolingPlan,
    dtype: torch.dtype,
    device: torch.device,
    num_threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> PoolingRunner:
    """Load a decoder's weights, and its classification head if it has one."""
    decoder, weight_bytes = build_decoder(checkpoint, config, dtype, device, num_threads, progress)
    head: Head = EmbeddingHead(plan.normalize)
    if plan.task == "classify":
        head = _score_head(checkpoint, plan, device)
    return PoolingRunner(decoder, weight_bytes, config.max_num_seqs, Pooler(plan.pooling), head)


def build_encoder_runner(
    files: ModelFiles,
    config: EngineConfig,
    plan: PoolingPlan,
    dtype: torch.dtype,
    device: torch.device,
    num_threads: int,
) -> EncoderRunner:
    """Load an encoder with transformers' code, and its classification head if it has one."""
    if device.type == "cpu":
        torch.set_num_threads(num_threads)
    is_classifier = plan.task == "classify"
    model = load_model(
        files.path,
        "AutoModelForSequenceClassification" if is_classifier else "AutoModel",
        dtype,
        device,
        **({} if is_classifier else _without_pooler(load_config(files.path))),
    )
    return EncoderRunner(
        model,
        LogitsHead(plan.activation) if is_classifier else EmbeddingHead(plan.normalize),
        None if is_classifier else plan.pooling,
        config.max_num_batched_tokens,
    )


def encoder_max_position(config: Any) -> int:
    """Tokens that fit into an encoder. RoBERTa's positions begin after the padding token's id."""
    limit: int = config.max_position_embeddings
    if config.model_type in _OFFSET_FAMILIES:
        limit -= config.pad_token_id + 1
    return limit


def pooling_spec(plan: PoolingPlan, hidden_size: int) -> PoolingSpec:
    """What the model gives, for front ends."""
    is_classifier = plan.task == "classify"
    return PoolingSpec(
        task=plan.task,
        pooling=None if is_classifier and plan.is_encoder else plan.pooling,
        size=len(plan.labels) if is_classifier else hidden_size,
        labels=list(plan.labels),
        reads_pairs=is_classifier and len(plan.labels) == 1,
    )


def _without_pooler(config: Any) -> dict[str, Any]:
    """BERT's own pooling layer is not used, and embedding models may have no weights for it."""
    return {"add_pooling_layer": False} if config.model_type in _POOLER_FAMILIES else {}


def _score_head(checkpoint: Checkpoint, plan: PoolingPlan, device: torch.device) -> ScoreHead:
    if SCORE_WEIGHT not in checkpoint.weights.names():
        raise ModelFileError(
            f"'{checkpoint.files.path}' has no weight '{SCORE_WEIGHT}', which a classifier needs. "
            "Fetch the model again."
        )
    weight = checkpoint.weights.read(SCORE_WEIGHT, torch.float32).to(device)
    expected = (len(plan.labels), checkpoint.config.hidden_size)
    if tuple(weight.shape) != expected:
        raise ModelFileError(
            f"The weight '{SCORE_WEIGHT}' has the shape {list(weight.shape)}, but config.json says "
            f"{list(expected)}: labels and hidden size."
        )
    return ScoreHead(weight, LogitsHead(plan.activation))
