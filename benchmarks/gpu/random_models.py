"""Writes models of published shapes with random weights, in Hugging Face's layout.

Speed depends on shapes alone, so no weights have to be fetched. The text that such a model writes
is noise.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from headrace.models.loaders.expected_weights import expected_shapes
from headrace.models.loaders.huggingface.config import read_hf_config
from headrace.testing.models.tiny_tokenizer import write_tokenizer

_COMMON: Mapping[str, Any] = {
    "attention_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "qwen3-0.6b": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": 151936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
    },
    "llama-3.1-8b": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 5e5,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        "tie_word_embeddings": False,
    },
    "tiny": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e4,
        "tie_word_embeddings": False,
    },
}
"""config.json of each, as the authors publish it; ``tiny`` is for trying the scripts."""

_STD = 0.02


def write_random_model(
    directory: Path, name: str, dtype: torch.dtype, device: torch.device, seed: int = 0
) -> None:
    """The model of SHAPES[name]: one shard for the embeddings, one for each layer.

    dtype: of the weights. device: draws the numbers.
    """
    values = {**_COMMON, **SHAPES[name]}
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(values, indent=2))
    # Prompts are token ids, so the tokenizer needs no more than the bytes and two special tokens.
    write_tokenizer(directory, 320, values["max_position_embeddings"])
    generator = torch.Generator(device).manual_seed(seed)
    shards: dict[str, dict[str, tuple[int, ...]]] = {}
    for weight, shape in expected_shapes(read_hf_config(values)):
        parts = weight.split(".")
        shard = f"layer-{parts[2]}" if parts[1] == "layers" else "embeddings"
        shards.setdefault(f"{shard}.safetensors", {})[weight] = shape
    for file, shapes in shards.items():
        tensors = {
            weight: _draw(shape, dtype, device, generator) for weight, shape in shapes.items()
        }
        save_file(tensors, directory / file, metadata={"format": "pt"})
    index = {weight: file for file, shapes in shards.items() for weight in shapes}
    (directory / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )


def _draw(
    shape: tuple[int, ...], dtype: torch.dtype, device: torch.device, generator: torch.Generator
) -> Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=dtype)
    drawn = torch.empty(shape, dtype=dtype, device=device)
    return drawn.normal_(std=_STD, generator=generator).cpu()
