"""What turns pooled hidden states into the numbers that a request gets."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from headrace.core.generation.outputs import RequestFailure
from headrace.core.generation.pooling import PoolingParams
from headrace.engine.pooling.task import Activation
from headrace.scheduler.output import EntryResult, FailedEntry, PooledVector

_NOT_FINITE = RequestFailure(
    "The model computed values that are not finite for this input. Use --dtype float32, or another "
    "model."
)


class Head(Protocol):
    """Called with one pooled row, float32, and the request's parameters."""

    def __call__(self, pooled: Tensor, params: PoolingParams) -> Tensor: ...


@dataclass(frozen=True)
class EmbeddingHead:
    """Truncates to ``dimensions`` and then normalizes, as Matryoshka embeddings need it."""

    normalize: bool

    def __call__(self, pooled: Tensor, params: PoolingParams) -> Tensor:
        """pooled: [H]; returns [dimensions]."""
        vector = pooled[: params.dimensions]
        use = self.normalize if params.use_activation is None else params.use_activation
        return functional.normalize(vector, dim=0) if use else vector


@dataclass(frozen=True)
class LogitsHead:
    """The activation of a classifier, on its logits."""

    activation: Activation

    def __call__(self, pooled: Tensor, params: PoolingParams) -> Tensor:
        """pooled: [labels]; returns [labels]. Asked for explicitly, a model whose files say
        "identity" gives probabilities too."""
        activation = self.activation
        if params.use_activation is False:
            activation = "identity"
        elif params.use_activation and activation == "identity":
            activation = "sigmoid" if len(pooled) == 1 else "softmax"
        match activation:
            case "sigmoid":
                return pooled.sigmoid()
            case "softmax":
                return pooled.softmax(dim=0)
        return pooled


@dataclass(frozen=True)
class ScoreHead:
    """The linear layer of a decoder's classifier, then LogitsHead."""

    weight: Tensor
    """[labels, H] float32."""
    logits: LogitsHead

    def __call__(self, pooled: Tensor, params: PoolingParams) -> Tensor:
        return self.logits(self.weight @ pooled, params)


def to_result(vector: Tensor) -> EntryResult:
    """The result of a request; a failure if the model computed infinite values or NaN."""
    if not bool(torch.isfinite(vector).all()):
        return FailedEntry(_NOT_FINITE)
    return PooledVector(vector.to("cpu", torch.float32).numpy().astype("<f4").tobytes())
