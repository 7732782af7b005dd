"""The experts of a layer as files hold them: one by one, stacked, transposed, in four bits."""

import json
from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType, quants
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from headrace.core.errors import ModelFileError
from headrace.models.loaders.checkpoint import open_checkpoint
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_families import TinyArchitecture
from headrace.testing.models.tiny_gguf import write_tiny_gguf
from headrace.testing.models.tiny_models import build_tiny_model, write_tiny_model

NUM_EXPERTS = 6


@pytest.mark.parametrize("architecture", ["mixtral", "qwen2_moe", "olmoe", "granite_moe"])
def test_stacked_experts_are_those_of_single_ones(
    architecture: TinyArchitecture, tmp_path: Path
) -> None:
    """The names in transformers' memory, as some newer files have them."""
    single = open_checkpoint(write_tiny_model(tmp_path / "single", architecture))
    files = write_tiny_model(tmp_path / "stacked", architecture)
    model = build_tiny_model(architecture)
    state = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    save_file(state, files.path / "model.safetensors")
    stacked = open_checkpoint(files)
    assert set(stacked.weights.names()) == set(single.weights.names())
    assert stacked.num_parameters == single.num_parameters == model.num_parameters()
    for name in single.weights.names():
        expected = single.weights.read(name, torch.float32)
        assert torch.equal(stacked.weights.read(name, torch.float32), expected), name


def write_mxfp4(directory: Path) -> tuple[ModelFiles, dict[str, Tensor]]:
    """Tiny gpt-oss whose experts are random blocks; with what transformers expands them to."""
    files = write_tiny_model(directory, "gpt_oss")
    weights = load_file(directory / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    expanded = {}
    for name in [name for name in weights if name.endswith(("gate_up_proj", "down_proj"))]:
        num_experts, num_k, num_rows = weights.pop(name).shape
        shape = (num_experts, num_rows, num_k // 32)
        blocks = torch.randint(256, (*shape, 16), generator=generator).to(torch.uint8)
        scales = torch.randint(120, 128, shape, generator=generator).to(torch.uint8)
        weights[f"{name}_blocks"], weights[f"{name}_scales"] = blocks, scales
        expanded[name] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    save_file(weights, directory / "model.safetensors")
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4"}
    (directory / "config.json").write_text(json.dumps(config))
    return files, expanded


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_mxfp4_is_expanded_as_transformers_does(dtype: torch.dtype, tmp_path: Path) -> None:
    files, expanded = write_mxfp4(tmp_path)
    checkpoint = open_checkpoint(files)
    assert checkpoint.num_parameters == build_tiny_model("gpt_oss").num_parameters()
    for name, weight in expanded.items():
        for expert in range(NUM_EXPERTS):
            module = f"{name.rpartition('.')[0]}.{expert}"
            rows = weight[expert].T.to(dtype)  # exact
            parts = {"down_proj": rows}
            if name.endswith("gate_up_proj"):
                parts = {"gate_proj": rows[::2], "up_proj": rows[1::2]}
            for part, expected in parts.items():
                found = checkpoint.weights.read(f"{module}.{part}.weight", dtype)
                assert found.dtype == dtype
                assert torch.equal(found, expected)


def read_one(files: ModelFiles) -> Tensor:
    name = "model.layers.1.mlp.experts.0.down_proj.weight"
    return open_checkpoint(files).weights.read(name, torch.float32)


def test_blocks_and_scales_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    files, _ = write_mxfp4(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    name = "model.layers.1.mlp.experts.down_proj_scales"
    scales = weights.pop(name)
    for changed in ({}, {name: scales[:, :-1].contiguous()}, {name: scales.float()}):
        save_file({**weights, **changed}, path)
        with pytest.raises(ModelFileError, match="down_proj"):
            read_one(files)


def test_too_few_experts_are_found_before_loading(tmp_path: Path) -> None:
    files = write_tiny_model(tmp_path, "granite_moe")
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    name = "model.layers.1.block_sparse_moe.output_linear.weight"
    weights[name] = weights[name][:-1].contiguous()
    save_file(weights, path)
    with pytest.raises(ModelFileError, match=r"layers\.1\.mlp\.experts\.5\.down_proj"):
        open_checkpoint(files)


@pytest.mark.parametrize("quantization", ["MXFP4", "Q8_0"])
def test_quantized_experts_of_gguf(quantization: str, tmp_path: Path) -> None:
    exact = open_checkpoint(write_tiny_gguf(tmp_path / "exact.gguf", "gpt_oss"))
    path = tmp_path / "quantized.gguf"
    found = open_checkpoint(write_tiny_gguf(path, "gpt_oss", quantization=quantization))
    kind = GGMLQuantizationType[quantization]
    for expert in range(NUM_EXPERTS):
        for part in ("gate_proj", "up_proj", "down_proj"):
            name = f"model.layers.1.mlp.experts.{expert}.{part}.weight"
            weight = exact.weights.read(name, torch.float32).numpy()
            expected = quants.dequantize(quants.quantize(weight, kind), kind)
            assert torch.equal(
                found.weights.read(name, torch.float32), torch.from_numpy(expected)
            ), name
