"""The experts of a layer in plain torch, and their products."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from headrace.models.config import Activation
from headrace.models.ops.base import ExpertMatrices, Routing, Weight, apply_gate


@dataclass(slots=True)
class TorchExperts(Weight):
    """On the device, gate above up."""

    gate_up: Tensor
    """[E, 2 N, H]."""
    down: Tensor
    """[E, H, N]."""
    gate_up_bias: Tensor | None
    """[E, 2 N]."""
    down_bias: Tensor | None
    """[E, H]."""
    activation: Activation

    @property
    def num_bytes(self) -> int:
        tensors = (self.gate_up, self.down, self.gate_up_bias, self.down_bias)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)

    @property
    def num_experts(self) -> int:
        return self.gate_up.shape[0]


def pack_experts(
    experts: Iterable[ExpertMatrices],
    num_experts: int,
    activation: Activation,
    dtype: torch.dtype,
    device: torch.device,
) -> TorchExperts:
    stacks: list[Tensor | None] = [None] * 4
    for index, expert in enumerate(experts):
        matrix = torch.cat([expert.gate, expert.up])
        for place, part in enumerate((matrix, expert.down, *expert[3:])):
            if part is None:
                continue
            stack = stacks[place]
            if stack is None:
                stack = torch.empty((num_experts, *part.shape), dtype=dtype, device=device)
                stacks[place] = stack
            stack[index].copy_(part)
    gate_up, down, gate_up_bias, down_bias = stacks
    assert gate_up is not None
    assert down is not None
    return TorchExperts(gate_up, down, gate_up_bias, down_bias, activation)


def add_by_expert(x: Tensor, routing: Routing, experts: TorchExperts, residual: Tensor) -> None:
    """One expert after the other, those with rows alone. Waits for the device, to know them."""
    for expert in torch.unique(routing.experts).tolist():
        tokens, places = torch.nonzero(routing.experts == expert, as_tuple=True)
        output = _compute(x[None, tokens], experts, slice(expert, expert + 1))[0]
        weights = routing.weights[tokens, places].to(output.dtype)
        residual.index_add_(0, tokens, output * weights[:, None])


def add_without_waiting(
    x: Tensor, routing: Routing, experts: TorchExperts, residual: Tensor
) -> None:
    """Fixed shapes, and no tensor that the host reads, as a CUDA graph needs it.

    The experts of each token if these are fewer than all; otherwise all experts for all tokens,
    which reads each expert once.
    """
    num_tokens, k = routing.experts.shape
    weights = routing.weights.to(x.dtype)
    if num_tokens * k < experts.num_experts:
        rows = x.repeat_interleave(k, dim=0)[:, None]  # [T * k, 1, H]
        outputs = _compute(rows, experts, routing.experts.flatten()).view(num_tokens, k, x.shape[1])
        residual += (outputs * weights[..., None]).sum(1)
        return
    shares = weights.new_zeros(num_tokens, experts.num_experts)
    shares.scatter_(1, routing.experts, weights)
    outputs = _compute(x.expand(experts.num_experts, -1, -1), experts, slice(None))  # [E, T, H]
    chosen = (shares > 0).T[..., None]  # what others give may be infinite
    residual += (outputs.where(chosen, 0.0) * shares.T[..., None]).sum(0)


def _compute(x: Tensor, experts: TorchExperts, which: slice | Tensor) -> Tensor:
    """[B, T, H] of B experts. x: [B, T, H]."""
    both = _multiply(x, experts.gate_up, experts.gate_up_bias, which)
    gate, up = both.chunk(2, dim=-1)
    hidden = apply_gate(gate, up, experts.activation)
    return _multiply(hidden, experts.down, experts.down_bias, which)


def _multiply(x: Tensor, matrices: Tensor, bias: Tensor | None, which: slice | Tensor) -> Tensor:
    output = torch.bmm(x, matrices[which].transpose(1, 2))
    return output if bias is None else output + bias[which][:, None]
