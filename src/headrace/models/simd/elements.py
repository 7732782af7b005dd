"""The kernels' tags of PyTorch's types."""

import torch

from headrace.core.errors import UnsupportedModelError
from headrace.models.simd.vectors import BF16, FP32, Element

_TAGS: dict[torch.dtype, Element] = {torch.bfloat16: BF16, torch.float32: FP32}


def element_tag(dtype: torch.dtype) -> Element:
    """Raises UnsupportedModelError for types that the kernels do not compute."""
    if dtype not in _TAGS:
        raise UnsupportedModelError(f"The CPU kernels compute no {dtype}.")
    return _TAGS[dtype]
