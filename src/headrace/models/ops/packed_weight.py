"""A matrix as the CPU kernels read it."""

from dataclasses import dataclass

from torch import Tensor

from headrace.models.config import Activation
from headrace.models.ops.base import Weight
from headrace.models.ops.cpu_low_rank import LowRankTable


@dataclass(slots=True)
class PackedWeight(Weight):
    """[N / 32, K / g, 32, g] as models.simd.matmul reads it; g values fill four bytes."""

    tiles: Tensor
    out_features: int
    in_features: int
    bias: Tensor | None = None
    """[N padded to 32] float32."""
    activation: Activation | None = None
    gated: bool = False
    """It holds two matrices of out_features rows, gate and up."""
    fused: bool = False
    """A kernel computes the activation too. Each block of a gated weight then holds 16 columns of
    gate, and the same 16 of up."""
    low_ranks: LowRankTable | None = None
    """What adapters add to it, once there is one that does."""

    @property
    def num_bytes(self) -> int:
        return self.tiles.nbytes

    @property
    def num_blocks(self) -> int:
        return self.tiles.shape[0]

    @property
    def num_k(self) -> int:
        """Elements to sum over, or pairs of them."""
        return self.tiles.shape[1]


def packed_whole(packed: PackedWeight) -> PackedWeight:
    """An unfused gated weight as the plain one it is: gate's columns, then up's."""
    return PackedWeight(
        packed.tiles,
        2 * packed.out_features,
        packed.in_features,
        packed.bias,
        low_ranks=packed.low_ranks,
    )
