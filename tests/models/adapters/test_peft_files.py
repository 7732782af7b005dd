"""Files of adapters that are not loaded, each with an error that says why."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from headrace.core.errors import AdapterError
from headrace.models.adapters.base_layout import base_layout
from headrace.models.adapters.peft_config import read_peft_config
from headrace.models.adapters.peft_weights import read_peft_adapter
from headrace.models.config import DecoderConfig
from headrace.models.loaders.checkpoint import open_checkpoint
from headrace.models.loaders.gguf.families import GGUF_ARCHITECTURES
from headrace.models.loaders.huggingface.families import HF_ARCHITECTURES
from headrace.testing.models.tiny_adapters import write_tiny_adapter
from headrace.testing.models.tiny_models import write_tiny_model

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> DecoderConfig:
    return open_checkpoint(write_tiny_model(tmp_path_factory.mktemp("model"))).config


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    write_tiny_adapter(folder)
    return folder


def read(folder: Path, decoder: DecoderConfig, max_rank: int = 64) -> set[str]:
    layout = base_layout("LlamaForCausalLM")
    return set(read_peft_adapter(folder, layout, decoder, max_rank))


def copy(written: Path, folder: Path) -> dict[str, torch.Tensor]:
    """A copy to change; returns its tensors."""
    for name in (CONFIG, WEIGHTS):
        (folder / name).write_bytes((written / name).read_bytes())
    return load_file(folder / WEIGHTS)


def test_every_projection_is_read(written: Path, decoder: DecoderConfig) -> None:
    names = read(written, decoder)
    assert len(names) == 7 * decoder.num_layers
    assert "model.layers.1.mlp.gate_proj" in names


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True, "target_modules": ["q_proj"]},
        {"modules_to_save": ["lm_head"]},
        {"bias": "lora_only"},
        {"lora_bias": True},
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"target_modules": ["lm_head", "q_proj"]},
        {"trainable_token_indices": [1, 2]},
    ],
    ids=lambda changes: next(iter(changes)) + str(next(iter(changes.values()))),
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_not_computed_is_refused(
    changes: dict[str, Any], tmp_path: Path, decoder: DecoderConfig
) -> None:
    write_tiny_adapter(tmp_path, **changes)
    with pytest.raises(AdapterError):
        read(tmp_path, decoder)


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": "IA3"},
        {"r": 0},
        {"r": 8},
        {"r": "8"},
        {"r": None},
        {"rank_pattern": {"q_proj": 3}},
        {"rank_pattern": {"(": 4}},
        {"init_lora_weights": "pissa_niter_4"},
        {"layer_replication": [[0, 1]]},
    ],
    ids=str,
)
def test_a_configuration_of_another_adapter_is_refused(
    changes: dict[str, Any], written: Path, tmp_path: Path, decoder: DecoderConfig
) -> None:
    copy(written, tmp_path)
    config = json.loads((written / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps({**config, **changes}))
    with pytest.raises(AdapterError):
        read(tmp_path, decoder)


Change = Callable[[dict[str, torch.Tensor]], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.clear(),
        lambda tensors: tensors.pop(f"{Q_PROJ}.lora_B.weight"),
        lambda tensors: tensors.update({f"{Q_PROJ}.lora_B.bias": torch.zeros(64)}),
        lambda tensors: tensors.update({"lora_A.weight": torch.zeros(4, 64)}),
        lambda tensors: tensors.update({f"{Q_PROJ}.lora_A.weight": torch.zeros(4, 66)}),
        lambda tensors: tensors.update({f"{Q_PROJ}.lora_B.weight": torch.zeros(63, 4)}),
        lambda tensors: tensors.update({f"{Q_PROJ}.lora_A.weight": torch.zeros(4)}),
        lambda tensors: tensors.update(
            {f"{Q_PROJ}.lora_A.weight": torch.zeros(4, 64, dtype=torch.int8)}
        ),
        lambda tensors: tensors.update(
            {
                name.replace("layers.0", "layers.2"): tensor.clone()
                for name, tensor in tensors.items()
                if name.startswith(Q_PROJ)
            }
        ),
    ],
    ids=["none", "no B", "bias", "name", "width", "height", "vector", "type", "layer"],
)
def test_weights_of_another_model_are_refused(
    change: Change, written: Path, tmp_path: Path, decoder: DecoderConfig
) -> None:
    tensors = copy(written, tmp_path)
    change(tensors)
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(AdapterError):
        read(tmp_path, decoder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]"])
def test_missing_and_damaged_files_are_refused(
    name: str, content: bytes | None, written: Path, tmp_path: Path, decoder: DecoderConfig
) -> None:
    copy(written, tmp_path)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AdapterError):
        read(tmp_path, decoder)


def test_a_rank_beyond_the_limit_is_refused(written: Path, decoder: DecoderConfig) -> None:
    assert read(written, decoder, max_rank=4)
    with pytest.raises(AdapterError, match="--max-lora-rank 4 or more"):
        read(written, decoder, max_rank=3)


@pytest.mark.parametrize(
    ("changes", "module", "scale"),
    [
        ({"r": 4, "lora_alpha": 8}, "layers.0.q_proj", 2.0),
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, "layers.0.q_proj", 4.0),
        ({"r": 4, "rank_pattern": {"q_proj": 16}, "lora_alpha": 8}, "layers.0.q_proj", 0.5),
        ({"r": 4, "alpha_pattern": {"0.q_proj": 2}}, "layers.10.q_proj", 2.0),
        ({"r": 4, "alpha_pattern": {"^layers.0.q_proj": 2}}, "layers.0.q_proj", 0.5),
        ({"r": 4, "alpha_pattern": {r"layers\.\d.q_proj": 2}}, "model.layers.0.q_proj", 0.5),
    ],
)
def test_scales(changes: dict[str, Any], module: str, scale: float, tmp_path: Path) -> None:
    config = {"peft_type": "LORA", "lora_alpha": 8, **changes}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    assert read_peft_config(tmp_path).scale_of(module) == scale


def test_every_architecture_can_have_adapters() -> None:
    for name in (*HF_ARCHITECTURES, *GGUF_ARCHITECTURES):
        assert base_layout(name).inner
