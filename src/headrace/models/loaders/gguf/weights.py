"""The tensors of a GGUF file under their own names, dequantized; each is read on request."""

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

from headrace.models.loaders.gguf.dequantize import dequantize
from headrace.models.loaders.gguf.file import GgufFile

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class GgufWeights:
    """The weights of one GGUF model, whatever number of files it lies in."""

    def __init__(self, file: GgufFile) -> None:
        self._tensors = file.tensors

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

    def read(self, name: str, dtype: torch.dtype, index: int | None = None) -> Tensor:
        tensor = self._tensors[name]
        data, shape = torch.from_numpy(tensor.data), tensor.shape
        if index is not None:  # rows are whole blocks, and so are the parts of the first dimension
            data, shape = data.view(shape[0], -1)[index], shape[1:]
        return dequantize(data, tensor.type_name, shape, dtype, tensor.name)
