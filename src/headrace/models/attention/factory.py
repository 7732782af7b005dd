"""Chooses the attention backend for a device.

Imports a backend only when it is chosen.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from headrace.core.errors import InvalidInputError, UnsupportedModelError
from headrace.models.attention.base import Attention, AttentionSpec
from headrace.models.attention.reference import ReferenceAttention

if TYPE_CHECKING:
    from headrace.models.simd.thread_pool import ThreadPool


def create_attention(spec: AttentionSpec, thread_pool: "ThreadPool | None" = None) -> Attention:
    """The fastest backend here for this device and dtype.

    thread_pool: the threads of the CPU kernels; the caller alone, if there is none.
    """
    match spec.device.type:
        case "cuda":
            return _create_cuda(spec)
        case "cpu":
            return _create_cpu(spec, thread_pool)
    raise InvalidInputError(
        f"Headrace computes on cpu or cuda, not on {spec.device.type}. Choose --device cpu or cuda."
    )


def _create_cuda(spec: AttentionSpec) -> Attention:
    from headrace.models.attention.cuda import CudaAttention

    return CudaAttention(spec)


def _create_cpu(spec: AttentionSpec, thread_pool: "ThreadPool | None") -> Attention:
    """Numba's kernels; plain torch where Numba does not run, or not with this dtype."""
    try:
        import_module("numba")
    except ImportError:
        return ReferenceAttention(spec)
    from headrace.models.attention.cpu import CpuAttention

    try:
        return CpuAttention(spec, thread_pool)
    except UnsupportedModelError:
        return ReferenceAttention(spec)
