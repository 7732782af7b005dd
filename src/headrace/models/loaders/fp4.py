"""Numbers of four bits with a scale for each block of them (OCP Microscaling Formats, MXFP4).

Twice a number times half its scale, so that the largest scales are finite, as in GGML.
"""

import torch
from torch import Tensor

_DOUBLED = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)


def doubled_values() -> Tensor:
    """[16] float32: twice what the sixteen numbers of type E2M1 stand for."""
    magnitudes = torch.tensor(_DOUBLED)
    return torch.cat([magnitudes, -magnitudes])


def half_scales(exponents: Tensor) -> Tensor:
    """2 ** (e - 128), float32, exact in bfloat16. exponents: uint8, of type E8M0."""
    wide = exponents.int()
    subnormal = (1 << 21) << wide.clamp(max=1)
    return torch.where(wide < 2, subnormal, (wide - 1) << 23).view(torch.float32)
