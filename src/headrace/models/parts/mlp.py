"""The MLPs: gated and plain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from headrace.models.ops.base import Ops, Weight
from headrace.models.parts.part_reader import PartReader
from headrace.models.parts.residual_output import ResidualOutput, read_residual_output


class Mlp(Protocol):
    """The second half of a layer."""

    def add(self, x: Tensor, residual: Tensor) -> None:
        """Compute x, [T, H], and add the outcome to the residual stream in place."""
        ...

    def weights(self) -> Iterable[tuple[Sequence[str], Weight]]:
        """All its matrices, each with the modules whose rows it stacks."""
        ...


@dataclass(slots=True)
class GatedMlp:
    """down(activation(gate(x)) * up(x)) (Shazeer, 2020)."""

    ops: Ops
    gate_up: Weight
    down: ResidualOutput

    def add(self, x: Tensor, residual: Tensor) -> None:
        self.down.add(self.ops.gated_linear(x, self.gate_up), residual)

    def weights(self) -> Iterable[tuple[Sequence[str], Weight]]:
        return (("gate_proj", "up_proj"), self.gate_up), (("down_proj",), self.down.weight)


@dataclass(slots=True)
class PlainMlp:
    """down(activation(up(x)))."""

    ops: Ops
    up: Weight
    down: ResidualOutput

    def add(self, x: Tensor, residual: Tensor) -> None:
        self.down.add(self.ops.activated_linear(x, self.up), residual)

    def weights(self) -> Iterable[tuple[Sequence[str], Weight]]:
        return (("up_proj",), self.up), (("down_proj",), self.down.weight)


def read_mlp(reader: PartReader, layer: str) -> Mlp:
    """The MLP of the layer of this name, of the model's kind."""
    config, ops, mlp = reader.config, reader.ops, f"{layer}.mlp"
    down = read_residual_output(
        reader, f"{mlp}.down_proj", f"{layer}.mlp_output_norm", bias=config.mlp_bias
    )
    if not config.gated_mlp:
        up_bias = reader.bias(f"{mlp}.up_proj") if config.mlp_bias else None
        up = ops.pack_activated(reader.matrix(f"{mlp}.up_proj"), config.activation, up_bias)
        return PlainMlp(ops, up, down)
    return GatedMlp(ops, read_gate_up(reader, mlp, bias=config.mlp_bias), down)


def read_gate_up(reader: PartReader, mlp: str, *, bias: bool) -> Weight:
    """Packed for ``Ops.gated_linear``."""
    modules = [f"{mlp}.gate_proj", f"{mlp}.up_proj"]
    offset = torch.cat([reader.bias(module) for module in modules]) if bias else None
    gate, up = (reader.matrix(module) for module in modules)
    return reader.ops.pack_gated(gate, up, reader.config.activation, offset)
