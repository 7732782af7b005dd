"""The tensors of safetensors files: one, or several shards with an index.

Reads each tensor on request, under the names in the files.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from headrace.core.errors import ModelFileError, UnsupportedModelError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


class SafetensorsWeights:
    """Opens every file at once, so that a missing or cut one is found before any work."""

    def __init__(self, directory: Path) -> None:
        """Raises ModelFileError if a shard is missing or damaged."""
        self._directory = directory
        self._handles: dict[str, Any] = {}
        """By tensor."""
        shapes: dict[str, tuple[int, ...]] = {}
        self._types: dict[str, str] = {}
        for file in _weight_files(directory):
            handle = _open(file)
            for name in handle.keys():  # noqa: SIM118 - the handle is no mapping
                part = handle.get_slice(name)
                self._handles[name] = handle
                self._types[name] = part.get_dtype()
                shapes[name] = tuple(part.get_shape())
        self._shapes: Mapping[str, tuple[int, ...]] = shapes

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self._shapes

    @property
    def stored_dtype(self) -> torch.dtype:
        """The type that most numbers have."""
        counts: Counter[str] = Counter()
        for name, kind in self._types.items():
            counts[kind] += math.prod(self.shapes[name])
        most = [kind for kind, _ in counts.most_common() if kind in _DTYPES]
        return _DTYPES[most[0]] if most else torch.float32

    @property
    def num_parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(map(math.prod, self.shapes.values()))

    def names(self) -> Iterable[str]:
        return self.shapes

    def read(self, name: str, dtype: torch.dtype, index: int | None = None) -> Tensor:
        kind = self._types[name]
        if kind not in _DTYPES:
            raise UnsupportedModelError(
                f"Tensor '{name}' has the type {kind}, which Headrace does not read. It reads "
                f"{', '.join(_DTYPES)}; take the unquantized model."
            )
        return self._read(name, index).to(dtype)

    def read_bytes(self, name: str, index: int | None = None) -> Tensor:
        """A tensor of bytes, [...] uint8; index as for ``read``."""
        if self._types[name] != "U8":
            raise ModelFileError(f"Tensor '{name}' has the type {self._types[name]}, not U8.")
        return self._read(name, index)

    def _read(self, name: str, index: int | None) -> Tensor:
        handle = self._handles[name]
        try:
            tensor: Tensor
            tensor = handle.get_tensor(name) if index is None else handle.get_slice(name)[index]
        except SafetensorError as error:
            raise ModelFileError(
                f"Tensor '{name}' in '{self._directory}' cannot be read: {error}."
            ) from error
        return tensor


def _weight_files(directory: Path) -> list[Path]:
    index = directory / INDEX_FILE
    if index.is_file():
        return _indexed_files(index)
    if (directory / SINGLE_FILE).is_file():
        return [directory / SINGLE_FILE]
    files = sorted(directory.glob("*.safetensors"))
    if files:
        return files
    if any(directory.glob("pytorch_model*.bin")):
        raise UnsupportedModelError(
            f"'{directory}' has its weights in pytorch_model.bin, which may run code when read. "
            "Convert it to safetensors: load it with transformers and call "
            "save_pretrained(directory), or choose a revision that has safetensors."
        )
    raise ModelFileError(f"'{directory}' has no {SINGLE_FILE}. Fetch the model again.")


def _indexed_files(index: Path) -> list[Path]:
    try:
        weight_map = msgspec.json.decode(index.read_bytes(), type=_Index).weight_map
    except msgspec.DecodeError as error:
        raise ModelFileError(f"'{index}' is damaged: {error}. Fetch it again.") from error
    return [index.parent / name for name in sorted(set(weight_map.values()))]


def _open(file: Path) -> Any:
    if not file.is_file():
        raise ModelFileError(
            f"'{file}' is missing, though the model's index names it. Fetch the model again."
        )
    try:
        return safe_open(file, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise ModelFileError(
            f"'{file}' is damaged or incomplete ({error}). Fetch it again."
        ) from error
