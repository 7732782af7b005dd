"""Requests for a vector in place of text, and what a model gives for them."""

from typing import Literal

import msgspec

PooledTask = Literal["embed", "classify"]
ServedTask = Literal["generate", "embed", "classify"]
Pooling = Literal["last", "mean", "cls"]


class PoolingParams(msgspec.Struct, frozen=True, array_like=True):
    """How one request wants its vector. `engine.admission` checks the ranges."""

    dimensions: int | None = None
    """Keep this many leading numbers of an embedding (Matryoshka representation learning, Kusupati
    et al., 2022); None keeps all."""
    use_activation: bool | None = None
    """Normalize an embedding to length 1, or turn a classifier's logits into probabilities. None
    does what the model's files say."""
    second_start: int | None = None
    """The prompt is a pair of texts, and the tokens of the second begin here."""


class PoolingSpec(msgspec.Struct, frozen=True, array_like=True):
    """What a model that pools gives for a prompt."""

    task: PooledTask
    pooling: Pooling | None
    """Which hidden states become the vector: the last token's, the mean of all, the first token's.
    None where the model's own head chooses."""
    size: int
    """Dimensions of an embedding, or the number of labels."""
    labels: list[str] = []
    """Of a classifier."""
    reads_pairs: bool = False
    """Scores a pair of texts by itself (a cross-encoder): a classifier with one label."""
