"""Finds out what a model's layers ask of attention: computes two tokens and records the calls.

So heads, windows and scales come from the code that will use them, not from a reading of
config.json, and what paged attention does not compute is refused before the first request.
"""

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headrace.core.errors import UnsupportedModelError
from headrace.models.transformers.attention_interface import attach

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_UNSUPPORTED = {
    "s_aux": "attention sinks",
    "sinks": "attention sinks",
    "position_bias": "position biases",
    "head_mask": "head masks",
    "indices": "sparse attention",
}
"""Options of transformers' attention functions that change what is computed."""


_FULL, _SLIDING = "full_attention", "sliding_attention"
"""The kinds of layers in a config that paged attention computes."""


@dataclass(frozen=True, slots=True)
class LayerCall:
    """What one layer asks."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    window: int | None
    scale: float
    """Multiplies scores."""
    softcap: float | None
    """Scaled scores s become softcap * tanh(s / softcap)."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What the model did with two tokens, where all attention gives zeros."""

    calls: list[LayerCall]
    """Of each layer."""
    logits: Tensor | None
    """[2, vocab], of a model with an output layer."""


def probe_tokens(model: "PreTrainedModel") -> dict[str, Tensor]:
    """The arguments of the forward pass that is probed."""
    return {
        "input_ids": torch.zeros(1, 2, dtype=torch.int64, device=model.device),
        "position_ids": torch.arange(2, device=model.device)[None],
    }


def attend_to_nothing(
    _: int, query: Tensor, __: Tensor, ___: Tensor, ____: dict[str, Any]
) -> Tensor:
    """Zeros of the right shape, for ``attach``."""
    return torch.zeros_like(query[0]).transpose(0, 1).flatten(1)


def probe_layers(model: "PreTrainedModel", num_layers: int) -> Probe:
    """Compute two tokens. Afterwards all layers attend to nothing.

    Raises UnsupportedModelError when the layers differ in their heads, or ask for what paged
    attention does not compute.
    """
    name = type(model).__name__
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise _refusal(name, "takes no positions, by which the requests of a step differ")
    calls: dict[int, LayerCall] = {}

    def record(
        layer: int, query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]
    ) -> Tensor:
        if layer in calls:
            raise _refusal(name, f"calls attention twice in layer {layer}")
        calls[layer] = _read(name, query, key, value, options)
        return attend_to_nothing(layer, query, key, value, options)

    attach(model, record)
    try:
        with torch.inference_mode():
            output = model(**probe_tokens(model), use_cache=False)
    except UnsupportedModelError:
        raise
    except Exception as error:  # whatever the modeling code raises
        raise _refusal(name, f"failed on two tokens ({type(error).__name__}: {error})") from error
    if sorted(calls) != list(range(num_layers)):
        raise _refusal(
            name,
            f"calls transformers' attention interface in {len(calls)} of its {num_layers} layers",
        )
    found = [calls[layer] for layer in range(num_layers)]
    shapes = {(call.num_heads, call.num_kv_heads, call.head_dim) for call in found}
    if len(shapes) > 1:
        raise _refusal(name, "has layers whose heads differ in number or size")
    if len({call.softcap for call in found}) > 1:
        raise _refusal(name, "has layers that cap their scores differently")
    _check_windows(name, model.config.get_text_config(), found)
    attach(model, attend_to_nothing)
    logits = getattr(output, "logits", None)
    return Probe(found, None if logits is None else logits[0])


def _read(
    name: str, query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]
) -> LayerCall:
    for option, what in _UNSUPPORTED.items():
        if options.get(option) is not None:
            raise _refusal(name, f"needs {what}")
    if options.get("is_causal") is False:
        raise _refusal(name, "attends to later tokens")
    head_dim = query.shape[-1]
    if value.shape[-1] != head_dim or key.shape[-1] != head_dim:
        raise _refusal(name, "has values of another size than its keys")
    if head_dim % 2:
        raise _refusal(name, f"has heads of odd size {head_dim}")
    if key.shape[2] != query.shape[2]:
        raise _refusal(name, "attends to more than the tokens of its input")
    scale = options.get("scaling")
    return LayerCall(
        num_heads=query.shape[1],
        num_kv_heads=key.shape[1],
        head_dim=head_dim,
        window=options.get("sliding_window"),
        scale=head_dim**-0.5 if scale is None else float(scale),
        softcap=options.get("softcap"),
    )


def _check_windows(name: str, text: Any, calls: list[LayerCall]) -> None:
    """Some classes limit a layer's attention by their mask alone, which paged attention does not
    get."""
    kinds = getattr(text, "layer_types", None)
    if kinds is None:
        has_window = getattr(text, "sliding_window", None) is not None
        uses_window = getattr(text, "use_sliding_window", True) is not False
        kinds = [_SLIDING if has_window and uses_window else _FULL]
        if any(call.window is not None for call in calls):
            return
    for kind, call in zip(kinds, calls, strict=False):
        if kind not in (_FULL, _SLIDING) or (kind == _SLIDING and call.window is None):
            raise _refusal(name, f"limits attention by its mask alone ({kind})")


def _refusal(name: str, what: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{name} {what}, which Headrace's paged attention does not compute. Serve the model with "
        "transformers or vLLM."
    )
