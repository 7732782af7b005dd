"""A model on this machine's disk, complete and ready to be read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """What every model source ends in."""

    name: str
    """The model as the user named it."""
    format: Literal["huggingface", "gguf"]
    path: Path
    """The directory (huggingface) or the .gguf file (for a split one, the first part)."""
