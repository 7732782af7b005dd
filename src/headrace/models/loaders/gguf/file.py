"""Reads a GGUF file's header (metadata, tensor names, types, offsets) and maps the tensor data.

Names, types and shapes are given as the file has them. The reader in the `gguf`
package makes an array of every token of the vocabulary, which takes seconds; this one walks over
the header once.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.sources.local import split_parts

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_NUM_DIMENSIONS = 4
MAX_ARRAY_DEPTH = 4

_SCALARS = {
    GGUFValueType.UINT8: "<B",
    GGUFValueType.INT8: "<b",
    GGUFValueType.UINT16: "<H",
    GGUFValueType.INT16: "<h",
    GGUFValueType.UINT32: "<I",
    GGUFValueType.INT32: "<i",
    GGUFValueType.FLOAT32: "<f",
    GGUFValueType.BOOL: "<?",
    GGUFValueType.UINT64: "<Q",
    GGUFValueType.INT64: "<q",
    GGUFValueType.FLOAT64: "<d",
}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor, still as bytes of the file."""

    name: str
    type_name: str
    """As GGML calls it: F32, Q4_K; a bare number for a type that is newer than we are."""
    shape: tuple[int, ...]
    """The slowest dimension first, as torch has it (the file has it the other way round)."""
    data: npt.NDArray[np.uint8]
    """[num_bytes] mapped copy-on-write; empty for a type whose size we do not know."""

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """One model's metadata and tensors, out of one file or of all its parts."""

    path: Path
    metadata: Mapping[str, Any]
    """Strings, numbers, bools and lists of them; of a split file, the first part's."""
    tensors: Mapping[str, GgufTensor]


def open_gguf(path: Path) -> GgufFile:
    """Read the header of the file and, where its name says it is split, of its other parts.

    Raises ModelFileError when one is missing, damaged or shorter than it says.
    """
    metadata: dict[str, Any] = {}
    tensors: dict[str, GgufTensor] = {}
    for number, part in enumerate(split_parts(path)):
        contents = _read_part(part)
        if number == 0:
            metadata = contents.metadata
        tensors.update({tensor.name: tensor for tensor in contents.tensors})
    promised = metadata.get("split.tensors.count", len(tensors))
    if promised != len(tensors):
        raise ModelFileError(
            f"'{path}' and its other parts should hold {promised} tensors but hold "
            f"{len(tensors)}. Fetch them again."
        )
    return GgufFile(path, metadata, tensors)


@dataclass(frozen=True, slots=True)
class _Part:
    metadata: dict[str, Any]
    tensors: list[GgufTensor]


def _read_part(path: Path) -> _Part:
    try:
        # Copy-on-write, as torch warns of memory that it must not write to.
        data: npt.NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="c")
    except FileNotFoundError as error:
        raise ModelFileError(
            f"'{path}' is missing; all parts of a model must lie together."
        ) from error
    except (OSError, ValueError) as error:
        raise ModelFileError(f"'{path}' cannot be read: {error}.") from error
    try:
        return _parse(path, data)
    except (struct.error, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise ModelFileError(
            f"'{path}' is damaged or incomplete, its header ends or breaks off ({error}). "
            "Fetch it again."
        ) from error


def _parse(path: Path, data: npt.NDArray[np.uint8]) -> _Part:
    cursor = _Cursor(data.data)
    if cursor.take(len(MAGIC)) != MAGIC:
        raise ModelFileError(f"'{path}' is not a GGUF file (it does not begin with 'GGUF').")
    version = cursor.number("<I")
    if version not in VERSIONS:
        raise UnsupportedModelError(
            f"'{path}' has GGUF version {version}; Headrace reads versions 2 and 3, in "
            "little-endian order. Convert it again with current tools."
        )
    num_tensors, num_entries = cursor.number("<Q"), cursor.number("<Q")
    metadata = {}
    for _ in range(num_entries):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.number("<I"))
    headers = [_TensorHeader.read(cursor) for _ in range(num_tensors)]
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"alignment {alignment!r}")
    start = -(-cursor.offset // alignment) * alignment
    return _Part(metadata, [header.locate(path, data, start) for header in headers])


@dataclass(frozen=True, slots=True)
class _TensorHeader:
    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int
    """Bytes after the start of all tensors."""

    @staticmethod
    def read(cursor: "_Cursor") -> "_TensorHeader":
        name = cursor.string()
        num_dimensions = cursor.number("<I")
        if num_dimensions > MAX_NUM_DIMENSIONS:
            raise ValueError(f"tensor {name!r} of {num_dimensions} dimensions")
        dimensions = [cursor.number("<Q") for _ in range(num_dimensions)]
        return _TensorHeader(
            name, tuple(reversed(dimensions)), cursor.number("<I"), cursor.number("<Q")
        )

    def locate(self, path: Path, data: npt.NDArray[np.uint8], start: int) -> GgufTensor:
        try:
            kind = GGMLQuantizationType(self.type_id)
        except ValueError:  # the tensor may be unused
            return GgufTensor(self.name, str(self.type_id), self.shape, data[:0])
        block_size, block_bytes = GGML_QUANT_SIZES[kind]
        if self.shape and self.shape[-1] % block_size:
            raise ValueError(
                f"rows of tensor {self.name!r} are no multiple of {kind.name}'s {block_size}"
            )
        num_bytes = math.prod(self.shape) // block_size * block_bytes
        begin, end = start + self.offset, start + self.offset + num_bytes
        if end > len(data):
            raise ModelFileError(
                f"'{path}' is incomplete: tensor {self.name!r} ends at byte {end}, the file at "
                f"{len(data)}. Fetch it again."
            )
        return GgufTensor(self.name, kind.name, self.shape, data[begin:end])


class _Cursor:
    """Takes values from the header, one after the other; struct.error at its end."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self.offset = 0

    def number(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self._buffer, self.offset)
        self.offset += struct.calcsize(layout)
        return value

    def take(self, num_bytes: int) -> bytes:
        end = self.offset + num_bytes
        if end > len(self._buffer):
            raise ValueError(f"{num_bytes} bytes are wanted at {self.offset}")
        taken = bytes(self._buffer[self.offset : end])
        self.offset = end
        return taken

    def string(self) -> str:
        return self.take(self.number("<Q")).decode("utf-8", errors="replace")

    def value(self, type_id: int, depth: int = 0) -> Any:
        kind = GGUFValueType(type_id)
        if kind == GGUFValueType.STRING:
            return self.string()
        if kind != GGUFValueType.ARRAY:
            return self.number(_SCALARS[kind])
        if depth == MAX_ARRAY_DEPTH:
            raise ValueError("arrays within arrays")
        return self._array(depth)

    def _array(self, depth: int) -> list[Any]:
        kind = GGUFValueType(self.number("<I"))
        length = self.number("<Q")
        if kind == GGUFValueType.STRING:
            return self._strings(length)
        if kind == GGUFValueType.ARRAY:
            return [self.value(kind, depth + 1) for _ in range(length)]
        layout = _SCALARS[kind]
        data = self.take(struct.calcsize(layout) * length)
        return list(struct.unpack(f"<{length}{layout[1]}", data))

    def _strings(self, length: int) -> list[str]:
        # Written out with local names: a vocabulary and its merges are some 400,000 strings.
        buffer, start, read_size = self._buffer, self.offset, struct.Struct("<Q").unpack_from
        found: list[str] = []
        for _ in range(length):
            (num_bytes,) = read_size(buffer, start)
            end = start + 8 + num_bytes
            found.append(str(buffer[start + 8 : end], "utf-8", "replace"))
            start = end
        if start > len(buffer):
            raise ValueError("a string ends past the file's end")
        self.offset = start
        return found
