"""Opens a model on disk: its config and a reader of its weights.

The entry point of this package.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from headrace.core.errors import ModelFileError, UnsupportedModelError
from headrace.models.config import DecoderConfig
from headrace.models.loaders.base import WeightReader
from headrace.models.loaders.canonical_weights import CanonicalWeights, StoredWeights
from headrace.models.loaders.expected_weights import check_shapes, num_parameters
from headrace.models.loaders.gguf import config as gguf_config
from headrace.models.loaders.gguf.families import gguf_architecture
from headrace.models.loaders.gguf.file import open_gguf
from headrace.models.loaders.gguf.weights import GgufWeights
from headrace.models.loaders.huggingface.base_model import as_causal_lm
from headrace.models.loaders.huggingface.config import read_hf_config
from headrace.models.loaders.huggingface.families import hf_architecture
from headrace.models.loaders.huggingface.mxfp4 import Mxfp4Weights
from headrace.models.loaders.huggingface.safetensors_weights import SafetensorsWeights
from headrace.models.loaders.huggingface.transformers_config import describe_model
from headrace.models.sources.files import ModelFiles

GENERATION_KEYS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "max_new_tokens",
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model whose weights can be read."""

    files: ModelFiles
    config: DecoderConfig
    weights: WeightReader
    eos_token_ids: frozenset[int]
    """Any of these ends an answer."""
    stored_dtype: torch.dtype
    """The type of most weights; bfloat16 for quantized ones."""
    num_parameters: int
    """The numbers that the decoder reads; a tied embedding counts once."""
    generation_defaults: Mapping[str, Any]
    """What the authors advise for drawing, by the names in GENERATION_KEYS; may be empty."""
    transformers_why: str | None = None
    """Why transformers' modeling code computes the model; None: our own decoder does."""


def open_checkpoint(files: ModelFiles, *, with_output_layer: bool = True) -> Checkpoint:
    """Read headers and descriptions, and see that they fit together.

    with_output_layer: False for hidden states alone, as of embedding models and classifiers, whose
    weights may lack the output layer and the prefix ``model.``.
    Raises UnsupportedModelError or ModelFileError.
    """
    if files.format == "gguf":
        return _open_gguf(files, with_output_layer)
    return _open_huggingface(files, with_output_layer)


def _open_huggingface(files: ModelFiles, with_output_layer: bool) -> Checkpoint:
    values = _read_json(files.path / "config.json")
    tensors = SafetensorsWeights(files.path)
    if not with_output_layer:
        values = as_causal_lm(values)
    is_quantized = values.get("quantization_config") is not None
    try:
        config = replace(read_hf_config(values), has_output_layer=with_output_layer)
    except UnsupportedModelError as error:
        if is_quantized:
            raise
        return _open_with_transformers(files, tensors, with_output_layer, str(error))
    layout = hf_architecture(config.architecture).layout
    stored: StoredWeights = Mxfp4Weights(tensors) if is_quantized else tensors
    weights = CanonicalWeights(stored, layout, config, f"'{files.path}'")
    check_shapes(config, weights.shapes, f"'{files.path}'")
    generation = _read_generation_config(files.path)
    return Checkpoint(
        files=files,
        config=config,
        weights=weights,
        eos_token_ids=_ids(values.get("eos_token_id")) | _ids(generation.get("eos_token_id")),
        stored_dtype=weights.stored_dtype,
        num_parameters=num_parameters(config),
        generation_defaults=_generation_defaults(generation),
    )


def _open_with_transformers(
    files: ModelFiles, weights: SafetensorsWeights, with_output_layer: bool, why: str
) -> Checkpoint:
    """why: what our own decoder does not compute."""
    values = _read_json(files.path / "config.json")
    generation = _read_generation_config(files.path)
    return Checkpoint(
        files=files,
        config=describe_model(files.path, has_output_layer=with_output_layer),
        weights=weights,
        eos_token_ids=_ids(values.get("eos_token_id")) | _ids(generation.get("eos_token_id")),
        stored_dtype=weights.stored_dtype,
        num_parameters=weights.num_parameters,
        generation_defaults=_generation_defaults(generation),
        transformers_why=why,
    )


def _open_gguf(files: ModelFiles, with_output_layer: bool) -> Checkpoint:
    file = open_gguf(files.path)
    config = gguf_config.read_gguf_config(file)
    config = replace(config, has_output_layer=with_output_layer)
    layout = gguf_architecture(config.architecture).layout
    weights = CanonicalWeights(GgufWeights(file), layout, config, f"'{files.path}'")
    check_shapes(config, weights.shapes, f"'{files.path}'")
    return Checkpoint(
        files=files,
        config=config,
        weights=weights,
        eos_token_ids=gguf_config.eos_token_ids(file),
        stored_dtype=weights.stored_dtype,
        num_parameters=num_parameters(config),
        generation_defaults=gguf_config.generation_defaults(file),
    )


def _read_generation_config(directory: Path) -> dict[str, Any]:
    file = directory / "generation_config.json"
    return _read_json(file) if file.is_file() else {}


def _generation_defaults(generation: Mapping[str, Any]) -> dict[str, Any]:
    return {key: generation[key] for key in GENERATION_KEYS if generation.get(key) is not None}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError as error:
        raise ModelFileError(f"'{path}' is missing. Fetch the model again.") from error
    except msgspec.DecodeError as error:
        raise ModelFileError(f"'{path}' is damaged: {error}. Fetch it again.") from error


def _ids(value: Any) -> frozenset[int]:
    """Files say one id, a list of them, or null."""
    ids = value if isinstance(value, Iterable) else [value]
    return frozenset(item for item in ids if isinstance(item, int))
