"""The WeightReader of any family: renames, cuts fused tensors, restores the order of rows."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from headrace.core.errors import ModelFileError
from headrace.models.config import DecoderConfig
from headrace.models.loaders.layout import QKV, WeightLayout
from headrace.models.loaders.mixture import MAX_NUM_EXPERTS

Shape = tuple[int, ...]
_SHARED_EXPERT_GATE = ".shared_expert_gate"


class StoredWeights(Protocol):
    """A file format: tensors under the names in the files."""

    @property
    def shapes(self) -> Mapping[str, Shape]: ...

    @property
    def stored_dtype(self) -> torch.dtype:
        """The type that most numbers have; for quantized ones bfloat16, whose range is safe."""
        ...

    def read(self, name: str, dtype: torch.dtype, index: int | None = None) -> Tensor:
        """As ``WeightReader.read``. index: read this place of the first dimension alone."""
        ...


@dataclass(slots=True)
class _Source:
    """Where a canonical weight lies."""

    names: dict[int, str] = field(default_factory=dict)
    """Stored tensors, by their place where several are stacked."""
    index: int | None = None
    """Its place in the stored tensor's first dimension, which is that of the experts."""
    shape: Shape = ()
    begin: int = 0
    """First row, within the stored tensor, or within each head's rows of it."""
    step: int = 1
    """From one row to the next."""


class CanonicalWeights:
    """The weights of one model under canonical names."""

    def __init__(
        self, stored: StoredWeights, layout: WeightLayout, config: DecoderConfig, where: str
    ) -> None:
        """where: the file, as an error shall name it."""
        self._stored = stored
        self._layout = layout
        self._config = config
        self._where = where
        self._sources: dict[str, _Source] = {}
        self._last: tuple[tuple[str, torch.dtype, int | None], Tensor] | None = None
        """The tensor that was read last: the parts of a fused one are read one after the other."""
        for name, shape in stored.shapes.items():
            self._add(name, shape)

    @property
    def shapes(self) -> Mapping[str, Shape]:
        return {name: self._shape(name, source) for name, source in self._sources.items()}

    @property
    def stored_dtype(self) -> torch.dtype:
        return self._stored.stored_dtype

    def names(self) -> Iterable[str]:
        return self._sources

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        source = self._sources.get(name)
        if source is None:
            raise ModelFileError(f"{self._where} has no weight '{name}'.")
        parts = [
            self._part(name, source, self._tensor(source.names[place], dtype, source.index))
            for place in sorted(source.names)
        ]
        weight = torch.cat(parts) if len(parts) > 1 else parts[0]
        if self._layout.interleaved_rotary and _is_rotated(name):
            weight = _halves_of_heads(weight, self._config.head_dim)
        return weight.contiguous()

    def _add(self, stored: str, shape: Shape) -> None:
        found = self._layout.canonical(stored)
        if found is None:
            return
        if found.is_every_expert:
            for expert in range(min(shape[0] if shape else 0, MAX_NUM_EXPERTS)):
                for name, source in self._cut(found.of_expert(expert), shape[1:]):
                    source.names[0], source.index = stored, expert
                    self._sources[name] = source
            return
        for name, source in self._cut(found.name, shape):
            source.names = self._sources.get(name, source).names
            source.names[found.stacked_at or 0] = stored
            self._sources[name] = source

    def _cut(self, name: str, shape: Shape) -> Iterator[tuple[str, _Source]]:
        """The weights that make up a stored one, with where they lie in it."""
        if self._is_transposed(name, shape):
            shape = shape[::-1]
        module, _, part = name.rpartition(".")
        rows, rest = shape[0] if shape else 0, shape[1:]
        step = 1
        if module.endswith(QKV):
            config = self._config
            queries, keys = (
                heads * config.head_dim for heads in (config.num_heads, config.num_kv_heads)
            )
            sizes = {"q_proj": queries, "k_proj": keys, "v_proj": rows - queries - keys}
            stem = module.removesuffix("qkv_proj")
        elif module.endswith(".gate_up_proj"):
            sizes = {"gate_proj": rows // 2, "up_proj": rows - rows // 2}
            stem = module.removesuffix("gate_up_proj")
            step = 2 if self._layout.interleaved_gate_up else 1
        elif module == "model.embed_positions":
            offset = self._layout.position_offset
            yield name, _Source(shape=(rows - offset, *rest), begin=offset)
            return
        else:
            if module.endswith(_SHARED_EXPERT_GATE) and len(shape) == 1:
                shape = (1, *shape)  # as GGUF has it
            yield name, _Source(shape=shape)
            return
        begin = 0
        for projection, size in sizes.items():
            source = _Source(shape=(size, *rest), begin=begin, step=step)
            yield f"{stem}{projection}.{part}", source
            begin += size if step == 1 else 1

    def _part(self, name: str, source: _Source, tensor: Tensor) -> Tensor:
        """What of a stored tensor is this weight."""
        if self._is_transposed(name, tuple(tensor.shape)):
            tensor = tensor.T
        if _is_qk_norm(name):
            return tensor.flatten()
        if name.endswith(f"{_SHARED_EXPERT_GATE}.weight"):
            return tensor.view(source.shape)
        size, begin = source.shape[0] if source.shape else 0, source.begin
        if size == len(tensor):
            return tensor
        if self._layout.qkv_by_head:
            num_heads, head_dim = self._config.num_heads, self._config.head_dim
            heads = tensor.view(num_heads, 3, head_dim, *tensor.shape[1:])
            return heads[:, begin // size].reshape(size, *tensor.shape[1:])
        return tensor[begin :: source.step][:size]

    def _shape(self, name: str, source: _Source) -> Shape:
        if not _is_qk_norm(name):
            return source.shape
        return (len(source.names) * math.prod(source.shape),)

    def _is_transposed(self, name: str, shape: Shape) -> bool:
        if len(shape) != 2 or not name.startswith("model.layers."):
            return False
        if ".mlp.experts." in name:
            return self._layout.transposed_experts
        return self._layout.transposed

    def _tensor(self, name: str, dtype: torch.dtype, index: int | None) -> Tensor:
        key = (name, dtype, index)
        if self._last is None or self._last[0] != key:
            self._last = None
            self._last = (key, self._stored.read(name, dtype, index))
        return self._last[1]


def _is_qk_norm(name: str) -> bool:
    return name.endswith((".q_norm.weight", ".k_norm.weight"))


def _is_rotated(name: str) -> bool:
    return _is_qk_norm(name) or ".q_proj." in name or ".k_proj." in name


def _halves_of_heads(weight: Tensor, head_dim: int) -> Tensor:
    """Rows (a0 b0 a1 b1 ...) of each head as (a0 a1 ... b0 b1 ...). weight: [N, ...]."""
    pairs = weight.view(-1, head_dim // 2, 2, *weight.shape[1:])
    return pairs.transpose(1, 2).reshape(weight.shape)
