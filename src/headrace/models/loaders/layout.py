"""How the files of a family name and store the decoder's weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

FusedQkv = Literal["rows", "heads"]

QKV = "self_attn.qkv_proj"
GATE_UP = "mlp.gate_up_proj"
SCORE = "score"
"""The linear layer of a classifier, which transformers names alike in every family."""


@dataclass(frozen=True, slots=True)
class CanonicalName:
    """What a stored tensor is."""

    name: str
    stacked_at: int | None = None
    """Its place where several stored tensors make up one."""


@dataclass(frozen=True, kw_only=True)
class WeightLayout:
    """Maps stored names to canonical ones (see base.WeightReader).

    The canonical modules QKV and GATE_UP stand for several that lie in one tensor.
    """

    prefixes: tuple[str, ...] = ("model.",)
    """One of these, or nothing, comes before each name."""
    layers: str = "layers"
    outer: Mapping[str, str]
    """Modules outside of the layers: stored to canonical."""
    inner: Mapping[str, str]
    """Modules of a layer: stored to canonical."""
    stacked: Mapping[str, str] = field(default_factory=dict)
    """Modules of a layer that are numbered lists, whose tensors make up a canonical one."""
    transposed: bool = False
    """Matrices of the layers are [in, out] (GPT-2's Conv1D)."""
    qkv_by_head: bool = False
    """QKV holds query, key and value of one head after the other (GPT-NeoX); otherwise all
    queries, all keys, all values."""
    interleaved_rotary: bool = False
    """A rotated pair of a head lies side by side."""
    position_offset: int = 0
    """First row of the position embeddings that is used (OPT: 2)."""

    def canonical(self, stored: str) -> CanonicalName | None:
        """None for a tensor that is no weight of the decoder."""
        for prefix in (*self.prefixes, ""):
            if stored.startswith(prefix):
                found = self._without_prefix(stored.removeprefix(prefix))
                if found is not None:
                    return found
        return None

    def _without_prefix(self, name: str) -> CanonicalName | None:
        module, _, part = name.rpartition(".")
        if part not in ("weight", "bias"):
            return None
        if module == SCORE:
            return CanonicalName(name)
        if module in self.outer:
            return CanonicalName(f"{self.outer[module]}.{part}")
        match = re.fullmatch(rf"{self.layers}\.(\d+)\.(.+)", module)
        if match is None:
            return None
        layer, module = f"model.layers.{match[1]}", match[2]
        if module in self.inner:
            return CanonicalName(f"{layer}.{self.inner[module]}.{part}")
        whole, _, index = module.rpartition(".")
        if whole in self.stacked and index.isdecimal():
            return CanonicalName(f"{layer}.{self.stacked[whole]}.{part}", int(index))
        return None
