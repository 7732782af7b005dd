"""Chooses the operations' backend for a device and type."""

import torch

from headrace.core.errors import UnsupportedModelError
from headrace.models.ops.base import Ops
from headrace.models.ops.torch_ops import TorchOps


def create_ops(dtype: torch.dtype, device: torch.device) -> Ops:
    """The fastest backend: CPU kernels where they know the type, else torch."""
    if device.type != "cpu":
        return TorchOps(dtype, device)
    from headrace.models.ops.cpu_ops import CpuOps

    try:
        return CpuOps(dtype)
    except UnsupportedModelError:
        return TorchOps(dtype, device)
