"""LoRA adapters of random weights for tiny models, as PEFT writes them.

PEFT is imported within, as it takes seconds.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from headrace.testing.models.tiny_families import TinyArchitecture
from headrace.testing.models.tiny_models import build_tiny_model

if TYPE_CHECKING:
    from peft import PeftModel


def write_tiny_adapter(
    directory: Path,
    architecture: TinyArchitecture = "llama",
    *,
    seed: int = 0,
    scale: float = 0.1,
    **changes: Any,
) -> "PeftModel":
    """Write an adapter of the tiny model (seed 0) of this architecture; returns the adapted model.

    scale: standard deviation of A and B. changes: to PEFT's LoraConfig, which adapts all linear
    layers with rank 4 and alpha 8 by default.
    """
    return write_adapter_of(
        # Written out, for its attention over a window is the plainest.
        build_tiny_model(architecture, attn_implementation="eager"),
        directory,
        seed=seed,
        scale=scale,
        **changes,
    )


def write_adapter_of(
    model: Any, directory: Path, *, seed: int = 0, scale: float = 0.1, **changes: Any
) -> "PeftModel":
    """Write an adapter of this model of transformers; see ``write_tiny_adapter``."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        **{
            "r": 4,
            "lora_alpha": 8,
            "target_modules": "all-linear",
            "task_type": "CAUSAL_LM",
            **changes,
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of what it then corrects by itself
        adapted = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    adapted.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the base model is in no repository
        adapted.save_pretrained(str(directory))
    return adapted
