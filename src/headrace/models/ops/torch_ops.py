"""The decoder's operations in plain torch, for any device and type."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from headrace.models.config import Activation
from headrace.models.ops.base import (
    ExpertMatrices,
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

    @property
    def num_bytes(self) -> int:
        return self.matrix.nbytes + (self.bias.nbytes if self.bias is not None else 0)


class TorchOps(Ops):
    """The residual stream has the activations' type."""

    name = "torch"

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
        return functional.linear(x, packed.matrix, packed.bias)

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

    def _place(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self.device, dtype=self.dtype).contiguous()


def _unpack(weight: Weight) -> TorchWeight:
    assert isinstance(weight, TorchWeight)
    return weight
