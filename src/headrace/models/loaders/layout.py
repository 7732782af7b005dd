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
EXPERTS = "mlp.experts.*."
"""Begins the modules of all experts of a layer, where one tensor holds them."""


@dataclass(frozen=True, slots=True)
class CanonicalName:
    """What a stored tensor is."""

    name: str
    stacked_at: int | None = None
    """Its place where several stored tensors make up one."""

    def of_expert(self, expert: int) -> str:
        """The name of one expert's weight, where a tensor holds those of all."""
        return self.name.replace(".experts.*.", f".experts.{expert}.")

    @property
    def is_every_expert(self) -> bool:
        return ".experts.*." in self.name


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
    """Modules of a layer: stored to canonical. A number within a module, such as an expert's, is
    ``*`` in both."""
    bare: Mapping[str, str] = field(default_factory=dict)
    """Weights of a layer whose stored names end without ``.weight`` or ``.bias``: stored to
    canonical, which ends so."""
    stacked: Mapping[str, str] = field(default_factory=dict)
    """Modules of a layer that are numbered lists, whose tensors make up a canonical one."""
    transposed: bool = False
    """Matrices of the layers are [in, out] (GPT-2's Conv1D)."""
    transposed_experts: bool = False
    """Those of experts are (gpt-oss)."""
    interleaved_gate_up: bool = False
    """The fused rows of experts alternate: one of gate, one of up (gpt-oss)."""
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
        match = re.fullmatch(rf"{self.layers}\.(\d+)\.(.+)", name)
        if match is not None:
            return self._of_layer(f"model.layers.{match[1]}", match[2])
        module, _, part = name.rpartition(".")
        if module == SCORE and part in ("weight", "bias"):
            return CanonicalName(name)
        if part in ("weight", "bias") and module in self.outer:
            return CanonicalName(f"{self.outer[module]}.{part}")
        return None

    def _of_layer(self, layer: str, name: str) -> CanonicalName | None:
        if name in self.bare:
            return CanonicalName(f"{layer}.{self.bare[name]}")
        module, _, part = name.rpartition(".")
        if part not in ("weight", "bias"):
            return None
        if module in self.inner:
            return CanonicalName(f"{layer}.{self.inner[module]}.{part}")
        whole, _, index = module.rpartition(".")
        if whole in self.stacked and index.isdecimal():
            return CanonicalName(f"{layer}.{self.stacked[whole]}.{part}", int(index))
        number = re.search(r"(?<=\.)\d+(?=\.|$)", module)
        if number is None:
            return None
        found = self.inner.get(f"{module[: number.start()]}*{module[number.end() :]}")
        if found is None:
            return None
        return CanonicalName(f"{layer}.{found.replace('*', number[0])}.{part}")
