"""Memory for what is read from end to end at every step: weights and the KV cache.

With pages of 4 KiB the processor spends much of a step looking up where each one lies, most of all
in a virtual machine. Linux gives pages of 2 MiB to memory that asks for them.
"""

import math
import mmap

import torch
from torch import Tensor

_LARGE = 1 << 21


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Uninitialized, on the CPU; small tensors and other systems get ordinary memory.

    The system gives each page as it is first written to.
    """
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes < _LARGE // 2 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, dtype=dtype)
    # The mapping starts anywhere: with room for one page more, every whole page inside is large.
    memory = mmap.mmap(-1, num_bytes + _LARGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    start = -torch.frombuffer(memory, dtype=torch.uint8).data_ptr() % _LARGE
    tensor = torch.frombuffer(memory, dtype=dtype, count=math.prod(shape), offset=start)
    return tensor.view(shape)


def place(tensor: Tensor) -> Tensor:
    """A contiguous copy in memory of large pages."""
    copy = empty(tuple(tensor.shape), tensor.dtype)
    copy.copy_(tensor)
    return copy
