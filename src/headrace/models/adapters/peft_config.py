"""adapter_config.json of PEFT: what scales an adapter's updates, and what we do not compute."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from headrace.core.errors import AdapterError

CONFIG_FILE = "adapter_config.json"

_Value = TypeVar("_Value")

_REFUSED: Mapping[str, str] = {
    "use_dora": "DoRA",
    "modules_to_save": "modules trained in full (modules_to_save)",
    "trainable_token_indices": "trained token embeddings",
    "lora_bias": "biases (lora_bias)",
    "target_parameters": "adapted parameters (target_parameters)",
    "layer_replication": "replicated layers",
    "alora_invocation_tokens": "activated LoRA",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "velora_config": "VeLoRA",
    "monteclora_config": "MonteCLoRA",
}
"""Keys that change what is computed, if they are set."""
_INITIALIZED_FROM_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq", "mica")
"""Values of init_lora_weights that change the base weights, or LoRA's formula."""


class _Config(msgspec.Struct):
    peft_type: str
    r: int
    lora_alpha: float
    bias: str = "none"
    use_rslora: bool = False
    init_lora_weights: bool | str | None = True
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """Ranks and scales of one LoRA adapter."""

    rank: int
    alpha: float
    rank_stabilized: bool
    """Scale by alpha / sqrt(r) (Kalajdzievski, 2023, arXiv:2312.03732)."""
    ranks: Mapping[str, int]
    """Of modules whose names match these patterns, the first that does."""
    alphas: Mapping[str, float]

    def rank_of(self, module: str) -> int:
        """module: its name in the model that was trained."""
        return _matching(self.ranks, module, self.rank)

    def scale_of(self, module: str) -> float:
        """What multiplies the module's update."""
        rank = self.rank_of(module)
        return _matching(self.alphas, module, self.alpha) / (
            math.sqrt(rank) if self.rank_stabilized else rank
        )


def read_peft_config(directory: Path) -> PeftConfig:
    """Raises AdapterError if the file is missing or invalid, or asks for what we do not compute."""
    path = directory / CONFIG_FILE
    try:
        content = path.read_bytes()
        values = msgspec.json.decode(content, type=dict[str, Any])
        config = msgspec.json.decode(content, type=_Config)
    except OSError as error:
        raise AdapterError(
            f"The adapter's '{path}' cannot be read: {error.strerror}. A LoRA adapter in PEFT's "
            f"layout is a directory with {CONFIG_FILE} and adapter_model.safetensors."
        ) from error
    except msgspec.DecodeError as error:
        raise AdapterError(f"'{path}' is no configuration of a LoRA adapter: {error}.") from error
    _check(config, values, path)
    return PeftConfig(
        rank=config.r,
        alpha=config.lora_alpha,
        rank_stabilized=config.use_rslora,
        ranks=config.rank_pattern or {},
        alphas=config.alpha_pattern or {},
    )


def _check(config: _Config, values: Mapping[str, Any], path: Path) -> None:
    if config.peft_type != "LORA":
        raise AdapterError(
            f"'{path}' describes an adapter of the type {config.peft_type}. Headrace computes LORA."
        )
    refused = [what for key, what in _REFUSED.items() if values.get(key)]
    if config.bias != "none":
        refused.append(f"biases (bias '{config.bias}')")
    start = config.init_lora_weights
    if isinstance(start, str) and start.lower().startswith(_INITIALIZED_FROM_BASE):
        refused.append(f"changed base weights (init_lora_weights '{start}')")
    if refused:
        raise AdapterError(
            f"The adapter has {' and '.join(refused)} ('{path}'), which Headrace does not compute. "
            "Merge it into its model, or train LoRA alone."
        )
    ranks = [config.r, *(config.rank_pattern or {}).values()]
    if min(ranks) < 1:
        raise AdapterError(f"'{path}' has a rank of {min(ranks)}; ranks are at least 1.")
    for pattern in (*(config.rank_pattern or {}), *(config.alpha_pattern or {})):
        try:
            re.compile(pattern)
        except re.error as error:
            raise AdapterError(
                f"'{path}' has a pattern that is no regular expression: {pattern!r}."
            ) from error


def _matching(patterns: Mapping[str, _Value], module: str, default: _Value) -> _Value:
    """The value of the first pattern that the end of the module's name matches, as PEFT does it."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
