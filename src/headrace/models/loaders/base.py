"""The protocol of a weight file: tensors by their canonical names, one at a time."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor


class WeightReader(Protocol):
    """Weights under canonical names, whatever the file calls them: Hugging Face's names of the
    Llama family (``model.layers.0.self_attn.q_proj.weight``).

    Beside those, ``model.embed_positions`` are learned positions, and a layer's
    ``attention_output_norm`` and ``mlp_output_norm`` the norms at the outputs of its two halves.
    ``input_layernorm`` is the norm at the input of attention, ``post_attention_layernorm`` that of
    the MLP. An MLP without a gate has ``mlp.up_proj`` and ``mlp.down_proj``. In a mixture of
    experts, a layer has ``mlp.router``, gated MLPs ``mlp.experts.0`` and so on, perhaps
    ``mlp.shared_expert`` and ``mlp.shared_expert_gate``. ``self_attn.sinks.weight`` are the sinks
    of attention. Norms of queries and keys are vectors. Rotary halves are in Hugging Face's order
    (first half, second half of what is rotated of a head).
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
