"""The decoder's operations in plain torch, for any device and type."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from headrace.models.config import Activation
from headrace.models.ops.base import (
    AdapterRows,
    ExpertMatrices,
    LowRank,
    LowRankPart,
    Ops,
    Routing,
    Weight,
    activate,
    apply_gate,
)
from headrace.models.ops.torch_experts import (
    TorchExperts,
    add_by_expert,
    add_without_waiting,
    pack_experts,
)


@dataclass(slots=True)
class TorchWeight(Weight):
    """[N, K] on the device, gate above up for a gated one."""

    matrix: Tensor
    bias: Tensor | None = None
    activation: Activation | None = None
    low_ranks: "dict[int, TorchLowRank]" = field(default_factory=dict)
    """By slot: what adapters add to it."""

    @property
    def num_bytes(self) -> int:
        return self.matrix.nbytes + (self.bias.nbytes if self.bias is not None else 0)


@dataclass(frozen=True, slots=True)
class TorchLowRank(LowRank):
    """Parts on the device, of the activations' type."""

    parts: list[LowRankPart]

    @property
    def num_bytes(self) -> int:
        return sum(part.a.nbytes + part.b.nbytes for part in self.parts)


class TorchOps(Ops):
    """The residual stream has the activations' type."""

    name = "torch"

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(dtype, device)
        self._adapters: Sequence[AdapterRows] = ()

    def begin_step(self, adapters: Sequence[AdapterRows]) -> None:
        self._adapters = adapters

    def pack_low_rank(self, weight: Weight, parts: Sequence[LowRankPart]) -> TorchLowRank:
        return TorchLowRank(
            [LowRankPart(first, self._place(a), self._place(b)) for first, a, b in parts]
        )

    def place_low_rank(self, weight: Weight, slot: int, low_rank: LowRank | None) -> None:
        placed = _unpack(weight).low_ranks
        placed.pop(slot, None)
        if low_rank is not None:
            assert isinstance(low_rank, TorchLowRank)
            placed[slot] = low_rank

    def pack(self, weight: Tensor, bias: Tensor | None = None) -> TorchWeight:
        return TorchWeight(self._place(weight), None if bias is None else self._place(bias))

    def pack_gated(
        self, gate: Tensor, up: Tensor, activation: Activation, bias: Tensor | None = None
    ) -> TorchWeight:
        packed = self.pack(torch.cat([gate, up]), bias)
        packed.activation = activation
        return packed

    def pack_activated(
        self, weight: Tensor, activation: Activation, bias: Tensor | None = None
    ) -> TorchWeight:
        packed = self.pack(weight, bias)
        packed.activation = activation
        return packed

    def pack_experts(
        self, experts: Iterable[ExpertMatrices], num_experts: int, activation: Activation
    ) -> TorchExperts:
        return pack_experts(experts, num_experts, activation, self.dtype, self.device)

    def pack_embedding(self, table: Tensor, output: Weight | None) -> TorchWeight:
        return output if isinstance(output, TorchWeight) else TorchWeight(self._place(table))

    def embed(self, token_ids: Tensor, table: Weight) -> Tensor:
        return functional.embedding(token_ids, _unpack(table).matrix)

    def norm(self, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
        normed = functional.rms_norm(residual.float(), (weight.shape[0],), weight, eps)
        return normed.to(self.dtype)

    def layer_norm(
        self, residual: Tensor, weight: Tensor, bias: Tensor | None, eps: float
    ) -> Tensor:
        return functional.layer_norm(residual.float(), weight.shape, weight, bias, eps).to(
            self.dtype
        )

    def linear(self, x: Tensor, weight: Weight) -> Tensor:
        packed = _unpack(weight)
        out = functional.linear(x, packed.matrix, packed.bias)
        if self._adapters and packed.low_ranks:
            self._add_low_ranks(x, packed, out)
        return out

    def add_linear(self, x: Tensor, weight: Weight, residual: Tensor) -> None:
        residual += self.linear(x, weight)

    def gated_linear(self, x: Tensor, weight: Weight) -> Tensor:
        gate, up = self.linear(x, weight).chunk(2, dim=-1)
        return apply_gate(gate, up, _unpack(weight).activation or "silu")

    def activated_linear(self, x: Tensor, weight: Weight) -> Tensor:
        return activate(self.linear(x, weight), _unpack(weight).activation or "silu")

    def add_experts(self, x: Tensor, routing: Routing, experts: Weight, residual: Tensor) -> None:
        assert isinstance(experts, TorchExperts)
        if x.is_cuda and torch.cuda.is_current_stream_capturing():
            add_without_waiting(x, routing, experts, residual)
        else:
            add_by_expert(x, routing, experts, residual)

    def _add_low_ranks(self, x: Tensor, packed: TorchWeight, out: Tensor) -> None:
        for slot, start, end in self._adapters:
            low_rank = packed.low_ranks.get(slot)
            if low_rank is None:
                continue
            for first, a, b in low_rank.parts:
                update = functional.linear(functional.linear(x[start:end], a), b)
                out[start:end, first : first + len(b)] += update

    def _place(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self.device, dtype=self.dtype).contiguous()


def _unpack(weight: Weight) -> TorchWeight:
    assert isinstance(weight, TorchWeight)
    return weight
