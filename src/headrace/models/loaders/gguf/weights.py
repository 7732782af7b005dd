"""The WeightReader of a GGUF file: dequantizes, renames, restores the order of rotary rows.

Reads each tensor on request.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from headrace.core.errors import ModelFileError
from headrace.models.config import DecoderConfig
from headrace.models.loaders.architectures import GgufArchitecture
from headrace.models.loaders.gguf.dequantize import dequantize
from headrace.models.loaders.gguf.file import GgufFile, GgufTensor
from headrace.models.loaders.gguf.names import canonical_name

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class GgufWeights:
    """The weights of one GGUF model, whatever number of files it lies in."""

    def __init__(
        self, file: GgufFile, config: DecoderConfig, architecture: GgufArchitecture
    ) -> None:
        self._path = file.path
        self._config = config
        self._interleaved = architecture.interleaved_rotary
        self._tensors: dict[str, GgufTensor] = {}
        for tensor in file.tensors.values():
            name = canonical_name(tensor.name)
            if name is not None:
                self._tensors[name] = tensor

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self._tensors.items()}

    @property
    def stored_dtype(self) -> torch.dtype:
        """The type that most numbers have; for quantized ones bfloat16, whose range is safe."""
        counts: Counter[str] = Counter()
        for tensor in self._tensors.values():
            counts[tensor.type_name] += tensor.num_elements
        ((most, _),) = counts.most_common(1)
        return _DTYPES.get(most, torch.bfloat16)

    def names(self) -> Iterable[str]:
        return self._tensors

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise ModelFileError(f"'{self._path}' has no weight '{name}'.")
        data = torch.from_numpy(tensor.data)
        weight = dequantize(data, tensor.type_name, tensor.shape, dtype, tensor.name)
        if not self._interleaved:
            return weight
        if ".q_proj." in name:
            return _halves_of_heads(weight, self._config.num_heads)
        if ".k_proj." in name:
            return _halves_of_heads(weight, self._config.num_kv_heads)
        return weight


def _halves_of_heads(weight: Tensor, num_heads: int) -> Tensor:
    """Rows (a0 b0 a1 b1 ...) of each head as (a0 a1 ... b0 b1 ...). weight: [N, ...]."""
    half = len(weight) // num_heads // 2
    pairs = weight.view(num_heads, half, 2, *weight.shape[1:])
    return pairs.transpose(1, 2).reshape(weight.shape)
