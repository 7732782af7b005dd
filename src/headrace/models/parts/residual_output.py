"""The last product of attention or of an MLP, and how it joins the residual stream."""

from dataclasses import dataclass

from torch import Tensor

from headrace.models.ops.base import Ops, Weight
from headrace.models.parts.norm import Norm, read_norm
from headrace.models.parts.part_reader import PartReader


@dataclass(slots=True)
class ResidualOutput:
    """residual += scale * norm(x @ weight.T + bias)."""

    ops: Ops
    weight: Weight
    norm: Norm | None = None
    scale: float = 1.0

    def add(self, x: Tensor, residual: Tensor) -> None:
        """x: [T, K]; residual: [T, H], changed in place."""
        if self.norm is None and self.scale == 1.0:
            self.ops.add_linear(x, self.weight, residual)
            return
        output = self.ops.linear(x, self.weight)
        if self.norm is not None:
            output = self.norm(output)
        residual[:, : output.shape[1]].add_(output, alpha=self.scale)


def read_residual_output(
    reader: PartReader, module: str, norm_module: str, *, bias: bool
) -> ResidualOutput:
    """norm_module: the norm of the output, which is read if the model has one there."""
    config = reader.config
    norm = None if config.norm_place == "before" else read_norm(reader, norm_module)
    weight = reader.linear(module, bias=bias)
    return ResidualOutput(reader.ops, weight, norm, config.residual_scale)
