"""Where models come from: short names, directories, GGUF files, the hub, wheels."""

from headrace.models.sources.files import ModelFiles
from headrace.models.sources.progress import Progress, SilentProgress
from headrace.models.sources.resolve import resolve_model

__all__ = ["ModelFiles", "Progress", "SilentProgress", "resolve_model"]
