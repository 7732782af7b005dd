"""The protocol of a weight file: tensors by their canonical names, one at a time."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor


class WeightReader(Protocol):
    """Weights under Hugging Face's names of the Llama family
    (``model.layers.0.self_attn.q_proj.weight``), whatever the file calls them.

    Rotary halves are in Hugging Face's order (first half, second half of a head).
    """

    def names(self) -> Iterable[str]:
        """The canonical names that the files hold."""
        ...

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        """One tensor on the CPU, dequantized and converted.

        Raises ModelFileError when it is missing or damaged, UnsupportedModelError when its type
        is not readable.
        """
        ...
