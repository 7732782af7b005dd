"""Sampling parameters of requests that set none: --sampling-defaults, --generation-config."""

import json
from pathlib import Path

from headrace.core.errors import InvalidInputError
from headrace.engine.startup import recommended_sampling
from headrace.server.config import ServerConfig

FILE = "generation_config.json"


def read_sampling_defaults(config: ServerConfig) -> dict[str, float] | None:
    """The parameters; None for those that the model recommends.

    Raises InvalidInputError for a directory without a valid generation_config.json.
    """
    source = config.generation_config
    if source is None:
        return {} if config.sampling_defaults == "none" else None
    if source == "auto":
        return None
    return {} if source == "vllm" else _read(Path(source).expanduser() / FILE)


def _read(file: Path) -> dict[str, float]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InvalidInputError(
            f"--generation-config is neither auto nor vllm, and {file} cannot be read: {reason}."
        ) from error
    if not isinstance(values, dict):
        raise InvalidInputError(f"--generation-config: {file} is not a JSON object.")
    return recommended_sampling(values)
