"""The MLP that is a mixture of experts (Shazeer et al., 2017)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headrace.models.config import MoeConfig
from headrace.models.ops.base import ExpertMatrices, Ops, Routing, Weight
from headrace.models.parts.mlp import read_gate_up
from headrace.models.parts.part_reader import PartReader


@dataclass(slots=True)
class SharedExpert:
    """sigmoid(x @ gate.T) * down(activation(gate(x)) * up(x)), for every token (Qwen2-MoE)."""

    ops: Ops
    gate: Weight
    """[1, H]."""
    gate_up: Weight
    down: Weight

    def add(self, x: Tensor, residual: Tensor) -> None:
        output = self.ops.linear(self.ops.gated_linear(x, self.gate_up), self.down)
        share = self.ops.activated_linear(x, self.gate)  # [T, 1]
        residual[:, : output.shape[1]].add_(output * share)


@dataclass(slots=True)
class MoeMlp:
    """The sum of the experts that a router chooses for each token, and of a shared one."""

    ops: Ops
    router: Weight
    """[E, H]."""
    experts: Weight
    experts_per_token: int
    normalized: bool
    """As MoeConfig's."""
    shared: SharedExpert | None
    scale: float
    """Multiplies what the experts add to the residual stream."""

    def add(self, x: Tensor, residual: Tensor) -> None:
        scores = self.ops.linear(x, self.router)
        routing = route(scores, self.experts_per_token, self.normalized)
        if self.scale != 1.0:
            routing = Routing(routing.experts, routing.weights * self.scale)
        self.ops.add_experts(x, routing, self.experts, residual)
        if self.shared is not None:
            self.shared.add(x, residual)

    def weights(self) -> Iterable[tuple[Sequence[str], Weight]]:
        """None has a module that an adapter can change."""
        shared = self.shared
        rest = () if shared is None else (shared.gate, shared.gate_up, shared.down)
        return [((), weight) for weight in (self.router, self.experts, *rest)]


def route(scores: Tensor, k: int, normalized: bool) -> Routing:
    """The k experts with the highest scores, and their weights. scores: [T, E].

    normalized: as MoeConfig's.
    """
    scores = scores.float()
    highest, experts = scores.topk(k, dim=-1)
    experts, order = experts.sort(dim=-1)
    if normalized:
        return Routing(experts, highest.softmax(dim=-1).gather(1, order))
    return Routing(experts, scores.softmax(dim=-1).gather(1, experts))


def read_moe(reader: PartReader, layer: str, moe: MoeConfig) -> MoeMlp:
    """The mixture of experts of the layer of this name."""
    config, ops, mlp = reader.config, reader.ops, f"{layer}.mlp"
    shared = None
    if moe.shared_size is not None:
        shared = SharedExpert(
            ops,
            ops.pack_activated(reader.matrix(f"{mlp}.shared_expert_gate"), "sigmoid"),
            read_gate_up(reader, f"{mlp}.shared_expert", bias=moe.bias),
            reader.linear(f"{mlp}.shared_expert.down_proj", bias=moe.bias),
        )
    return MoeMlp(
        ops=ops,
        router=reader.linear(f"{mlp}.router", bias=moe.router_bias),
        experts=ops.pack_experts(_experts(reader, mlp, moe), moe.num_experts, config.activation),
        experts_per_token=moe.experts_per_token,
        normalized=moe.normalized,
        shared=shared,
        scale=config.residual_scale,
    )


def _experts(reader: PartReader, mlp: str, moe: MoeConfig) -> Iterator[ExpertMatrices]:
    """One at a time, as all of them may take more memory than there is."""
    for index in range(moe.num_experts):
        gate, up, down = (f"{mlp}.experts.{index}.{name}_proj" for name in ("gate", "up", "down"))
        gate_up_bias, down_bias = None, None
        if moe.bias:
            gate_up_bias = torch.cat([reader.bias(gate), reader.bias(up)])
            down_bias = reader.bias(down)
        yield ExpertMatrices(
            reader.matrix(gate), reader.matrix(up), reader.matrix(down), gate_up_bias, down_bias
        )
