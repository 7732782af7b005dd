"""How families differ: what a row of huggingface.families or gguf.families says."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.core.errors import UnsupportedModelError
from headrace.models.loaders.layout import WeightLayout
from headrace.models.loaders.metadata import Metadata

Fields = Mapping[str, Any]
"""Of DecoderConfig, by name."""
SlidingWindow = Literal["never", "always", "if asked", "by layer"]
Rotated = Literal["all", "none", "listed", "with window"]


@dataclass(frozen=True, kw_only=True)
class HfArchitecture:
    """How one class of transformers reads its config.json, and how its weights are stored."""

    layout: WeightLayout
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What transformers takes where config.json is silent."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Llama's keys: this family's."""
    requires: Mapping[str, Any] = field(default_factory=dict)
    """Keys that must have this value if they are there: we compute no other."""
    fixed: Fields = field(default_factory=dict)
    """What all models of the family have."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """Fields of DecoderConfig that a true or false of config.json decides."""
    derive: Callable[[Metadata], Fields] | None = None
    """Further fields, from config.json; it may raise UnsupportedModelError."""
    sliding_window: SlidingWindow = "never"
    """"always": wherever ``sliding_window`` is set; "if asked": with ``use_sliding_window``; "by
    layer": on the layers that ``layer_types`` says, or all but each ``window_pattern``-th."""
    window_pattern: int = 0
    rotated: Rotated = "all"
    """The layers with rotary embedding. "listed": by ``no_rope_layers``; "with window": those that
    have a sliding window."""
    rotary_share: float | None = None
    """Share of a head that is rotated by default; None: always all of it."""
    window_theta: float | None = None
    """Layers with a window rotate with this base by default; None: as the others."""
    quantizations: tuple[str, ...] = ()
    """Values of ``quant_method`` whose weights are expanded when they are read."""
    nested_under: str | None = None
    """The key under which config.json describes the decoder, for models of several parts."""


@dataclass(frozen=True, kw_only=True)
class GgufArchitecture:
    """What a GGUF file of one ``general.architecture`` leaves unsaid."""

    layout: WeightLayout
    fixed: Fields = field(default_factory=dict)
    """What all models of the family have."""
    derive: Callable[[Metadata, Collection[str]], Fields] | None = None
    """Further fields, from the keys of this architecture and the names of the tensors."""
    moe: Fields | None = None
    """Of MoeConfig, what files leave unsaid; None where the family has no experts."""
    yarn_truncates: bool = True
    """As RopeConfig's truncate."""
    window_pattern: int = 0
    """All but each such layer have the sliding window; 0: every layer."""
    window_theta: float | None = None
    """As HfArchitecture's."""
    unrotated_pattern: int = 0
    """Each such layer has no rotary embedding; 0: every layer has."""


def unsupported(name: str, known: Mapping[str, object]) -> UnsupportedModelError:
    """The error for an architecture that is not in a table."""
    return UnsupportedModelError(
        f"The model's architecture is {name}, which Headrace does not know. It knows "
        f"{', '.join(known)}; choose a model of one of these."
    )


def layers_but_each(pattern: int, num_layers: int) -> tuple[int, ...]:
    """All layers but every pattern-th: for 3 it is 0, 1, 3, 4 and so on."""
    return tuple(layer for layer in bounded_layers(num_layers) if (layer + 1) % pattern)


def bounded_layers(num_layers: int) -> range:
    """The layers, for a tuple of some: a damaged file may claim billions."""
    return range(min(num_layers, _MAX_NUM_LAYERS))


_MAX_NUM_LAYERS = 4096
