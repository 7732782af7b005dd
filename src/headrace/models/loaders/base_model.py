"""Checkpoints of a family's net without its output layer: embedding models and classifiers."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from headrace.models.loaders.safetensors_weights import SafetensorsWeights

_PREFIX = "model."
_SUFFIXES = ("ForSequenceClassification", "Model")


def as_causal_lm(values: Mapping[str, Any]) -> dict[str, Any]:
    """config.json under the architecture's name as a causal LM, by which the families are known."""
    names = values.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        return dict(values)
    for suffix in _SUFFIXES:
        if names[0].endswith(suffix):
            return {**values, "architectures": [names[0].removesuffix(suffix) + "ForCausalLM"]}
    return dict(values)


class BaseModelWeights:
    """A WeightReader over files that were saved with or without the prefix ``model.``."""

    def __init__(self, weights: SafetensorsWeights) -> None:
        self._weights = weights
        has_prefix = any(name.startswith(_PREFIX) for name in weights.names())
        self._stored = {name if has_prefix else _PREFIX + name: name for name in weights.names()}
        """By canonical name."""
        self.shapes = {name: weights.shapes[stored] for name, stored in self._stored.items()}
        self.stored_dtype = weights.stored_dtype

    def names(self) -> Iterable[str]:
        return self.shapes

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        return self._weights.read(self._stored.get(name, name), dtype)
