"""Our paged attention as one of transformers' attention functions.

transformers looks the function up by name and calls it in each layer. The function is registered
once and keeps no state: each layer's module has what it calls.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from headrace.core.errors import UnsupportedModelError
from headrace.models.attention.base import Attention

ATTENTION_NAME = "headrace_paged"
_ATTRIBUTE = "headrace_attend"

Attend = Callable[[int, Tensor, Tensor, Tensor, dict[str, Any]], Tensor]
"""(layer, query [1, heads, T, D], key, value [1, kv_heads, T, D], options) -> [T, heads * D]."""


def register() -> None:
    """Make ATTENTION_NAME known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION_NAME, _attention)


def attach(model: nn.Module, attend: Attend) -> None:
    """Let every layer of the model call ``attend``."""
    for module in model.modules():
        if isinstance(getattr(module, "layer_idx", None), int):
            setattr(module, _ATTRIBUTE, attend)


class PagedLayers:
    """Calls a backend with what the layers of a model pass."""

    def __init__(self, attention: Attention, factors: list[float]) -> None:
        """factors: of each layer's queries, because the backend scales scores alike in all
        layers."""
        self._attention = attention
        self._factors = factors
        self._cos: Tensor
        self._sin: Tensor

    def set_rotary(self, cos: Tensor, sin: Tensor) -> None:
        self._cos, self._sin = cos, sin

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, _: dict[str, Any]
    ) -> Tensor:
        factor = self._factors[layer]
        if abs(factor - 1.0) > 1e-6:
            query = query * factor
        heads = torch.cat([query[0], key[0], value[0]])  # [heads + 2 kv_heads, T, D]
        qkv = heads.transpose(0, 1).flatten(1)
        return self._attention.attend(layer, qkv, self._cos, self._sin)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' signature: returns [1, T, heads, D], and no weights."""
    attend: Attend | None = getattr(module, _ATTRIBUTE, None)
    if attend is None or attention_mask is not None:
        raise UnsupportedModelError(
            f"{type(module).__name__} masks its attention in a way of its own, which Headrace's "
            "paged attention does not compute. Serve the model with transformers or vLLM."
        )
    options.setdefault("is_causal", getattr(module, "is_causal", True))
    layer = module.layer_idx
    assert isinstance(layer, int)
    output = attend(layer, query, key, value, options)
    _, num_heads, num_tokens, _ = query.shape
    return output.view(1, num_tokens, num_heads, -1), None
