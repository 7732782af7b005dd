"""Chooses the operations' backend for a device and type."""

from typing import TYPE_CHECKING

import torch

from headrace.core.errors import UnsupportedModelError
from headrace.models.ops.base import Ops
from headrace.models.ops.torch_ops import TorchOps

if TYPE_CHECKING:
    from headrace.models.simd.thread_pool import ThreadPool


def create_ops(
    dtype: torch.dtype, device: torch.device, thread_pool: "ThreadPool | None" = None
) -> Ops:
    """The fastest backend: CPU kernels where they know the type, else torch.

    thread_pool: the threads of the CPU kernels; the caller alone, if there is none.
    """
    if device.type != "cpu":
        return TorchOps(dtype, device)
    from headrace.models.ops.cpu_ops import CpuOps

    try:
        return CpuOps(dtype, thread_pool)
    except UnsupportedModelError:
        return TorchOps(dtype, device)
