"""adapter_model.safetensors of PEFT: the matrices A and B of each module, by canonical names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from headrace.core.errors import AdapterError
from headrace.models.adapters.peft_config import PeftConfig, read_peft_config
from headrace.models.config import DecoderConfig
from headrace.models.loaders.canonical_weights import CanonicalWeights, Shape
from headrace.models.loaders.expected_weights import expected_shapes
from headrace.models.loaders.layout import GATE_UP, QKV, WeightLayout

WEIGHTS_FILE = "adapter_model.safetensors"

_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<matrix>[AB])\.weight")
_FUSED = {QKV: ("q_proj", "k_proj", "v_proj"), GATE_UP: ("gate_proj", "up_proj")}
_TYPES = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True, slots=True)
class LowRankMatrices:
    """A module's update: x @ a.T @ b.T."""

    a: Tensor
    """[r, K] float32. Modules that lie in one stored module share it."""
    b: Tensor
    """[N, r] float32, scaled; rows in the order of the stored module's."""


def read_peft_adapter(
    directory: Path, layout: WeightLayout, config: DecoderConfig, max_rank: int
) -> dict[str, LowRankMatrices]:
    """The updates by canonical module. layout: of the model's family in Hugging Face's files.

    Raises AdapterError for files that are missing, damaged, of another model, or that have what we
    do not compute.
    """
    peft = read_peft_config(directory)
    stored = _StoredAdapter(directory / WEIGHTS_FILE)
    stored.check_ranks(peft, max_rank)
    canonical_a = dict(_canonical_a(stored, layout))
    # B has the rows of the module itself, and is never transposed.
    rows = CanonicalWeights(stored, replace(layout, transposed=False), config, stored.where)
    _check_shapes(stored, rows.shapes, canonical_a, dict(expected_shapes(config)))
    a_matrices = {name: stored.read_a(name) for name in dict.fromkeys(canonical_a.values())}
    found = {}
    for name in rows.names():
        module, source = name.removesuffix(".weight"), canonical_a[name]
        b = rows.read(name, torch.float32) * peft.scale_of(source)
        found[module] = LowRankMatrices(a_matrices[source], b)
    return found


class _StoredAdapter:
    """The file. As StoredWeights, it gives a module's B under the name of the module's weight."""

    def __init__(self, path: Path) -> None:
        self.where = f"the adapter '{path}'"
        self._file = _open(path)
        self.a_shapes: dict[str, Shape] = {}
        """By stored module."""
        self._b_shapes: dict[str, Shape] = {}
        for name in self._file.keys():  # noqa: SIM118 - the handle is no mapping
            match = _TENSOR.fullmatch(name)
            if match is None:
                raise AdapterError(_unknown_tensor(name, self.where))
            part = self._file.get_slice(name)
            if part.get_dtype() not in _TYPES:
                raise AdapterError(
                    f"The tensor '{name}' of {self.where} has the type {part.get_dtype()}, which "
                    f"Headrace does not read."
                )
            shapes = self.a_shapes if match["matrix"] == "A" else self._b_shapes
            shapes[match["module"]] = tuple(part.get_shape())
        if not self.a_shapes:
            raise AdapterError(f"{self.where.capitalize()} has no LoRA weights.")
        for module in self.a_shapes.keys() ^ self._b_shapes.keys():
            raise AdapterError(f"In {self.where}, '{module}' has only one of lora_A and lora_B.")

    @property
    def shapes(self) -> Mapping[str, Shape]:
        return {f"{module}.weight": shape for module, shape in self._b_shapes.items()}

    @property
    def stored_dtype(self) -> torch.dtype:
        return torch.float32

    def read(self, name: str, dtype: torch.dtype, index: int | None = None) -> Tensor:
        b = self._read(name.removesuffix(".weight"), "B").to(dtype)
        return b if index is None else b[index]

    def read_a(self, module: str) -> Tensor:
        return self._read(module, "A").float()

    def check_ranks(self, peft: PeftConfig, max_rank: int) -> None:
        """Raises AdapterError if a rank is not the configuration's, or too large."""
        for module, shape in self.a_shapes.items():
            rank = peft.rank_of(module)
            b_shape = self._b_shapes[module]
            if len(shape) != 2 or len(b_shape) != 2 or {shape[0], b_shape[1]} != {rank}:
                raise AdapterError(
                    f"In {self.where}, '{module}' has lora_A of {list(shape)} and lora_B of "
                    f"{list(b_shape)}, but adapter_config.json says that its rank is {rank}."
                )
            if rank > max_rank:
                raise AdapterError(
                    f"{self.where.capitalize()} has the rank {rank}, more than the {max_rank} of "
                    f"--max-lora-rank. Start the server with --max-lora-rank {rank} or more, up to "
                    "256."
                )

    def _read(self, module: str, matrix: str) -> Tensor:
        name = f"base_model.model.{module}.lora_{matrix}.weight"
        try:
            tensor: Tensor = self._file.get_tensor(name)
        except SafetensorError as error:
            raise AdapterError(f"In {self.where}, '{name}' cannot be read: {error}.") from error
        return tensor


def _open(path: Path) -> Any:
    if not path.is_file():
        raise AdapterError(
            f"The adapter has no '{path}'. Headrace reads adapters from safetensors; with PEFT, "
            "save_pretrained writes them."
        )
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"The adapter's '{path}' is damaged: {error}.") from error


def _unknown_tensor(name: str, where: str) -> str:
    if "lora_magnitude" in name:
        what = "belongs to DoRA"
    elif "lora_embedding" in name:
        what = "adapts embeddings"
    elif name.endswith(".bias"):
        what = "is a bias"
    else:
        what = "belongs to a module trained in full (modules_to_save)"
    return (
        f"The tensor '{name}' of {where} {what}, which Headrace does not compute. Merge the "
        "adapter into its model, or train LoRA of the layers' projections alone."
    )


def _canonical_a(stored: _StoredAdapter, layout: WeightLayout) -> Iterator[tuple[str, str]]:
    """The names of the canonical weights that are adapted, each with the stored module."""
    for module in stored.a_shapes:
        found = layout.canonical(f"{module}.weight")
        name = "" if found is None else found.name.removesuffix(".weight")
        if not name:
            raise AdapterError(
                f"{stored.where.capitalize()} adapts '{module}', which this model does not have. "
                "Is it of another model?"
            )
        if not name.startswith("model.layers.") or not name.endswith("_proj"):
            raise AdapterError(
                f"{stored.where.capitalize()} adapts '{module}'. Headrace adapts the projections "
                "of attention and MLP in the layers, not embeddings, norms and the output layer. "
                "Merge the adapter into its model, or train it without this module."
            )
        fused = next((whole for whole in _FUSED if name.endswith(whole)), None)
        if fused is None:
            yield f"{name}.weight", module
        else:
            stem = name.rpartition(".")[0]
            for part in _FUSED[fused]:
                yield f"{stem}.{part}.weight", module


def _check_shapes(
    stored: _StoredAdapter,
    b_shapes: Mapping[str, Shape],
    canonical_a: Mapping[str, str],
    expected: Mapping[str, Shape],
) -> None:
    """Raises AdapterError if a module is not one of this model's."""
    for name, module in canonical_a.items():
        want, a_shape, b_shape = expected.get(name), stored.a_shapes[module], b_shapes[name]
        if want is None or (b_shape[0], a_shape[1]) != want:
            size = "does not have" if want is None else f"has with {want[0]} x {want[1]} weights"
            raise AdapterError(
                f"{stored.where.capitalize()} adapts '{module}' with {b_shape[0]} x {a_shape[1]} "
                f"weights, which this model {size}. Is it of another model?"
            )
