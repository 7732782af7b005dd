"""A model on this machine's disk, complete and ready to be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """The result of every model source."""

    name: str
    """The model as the user named it."""
    format: Literal["huggingface", "gguf"]
    path: Path
    """The directory (huggingface) or the .gguf file (for a split one, the first part)."""
    sampling_defaults: Mapping[str, float] = field(default_factory=dict)
    """SamplingParams from the catalog, for requests that give none; empty where the files have
    them."""
