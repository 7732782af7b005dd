"""The model's recommended sampling parameters, the defaults of requests that set none."""

from collections.abc import Mapping
from typing import Any

from headrace.core.errors import InvalidParameterError
from headrace.core.sampling_params import SamplingParams

_ADVISED = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def advised_sampling(generation_defaults: Mapping[str, Any]) -> dict[str, float]:
    """The supported and valid parameters of generation_config.json, or of a GGUF file's metadata.
    Invalid ones are dropped, so that a bad file does not make every request fail."""
    advised: dict[str, float] = {}
    for name in _ADVISED:
        value = generation_defaults.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                SamplingParams().replace(**{name: value})
            except InvalidParameterError:
                continue
            advised[name] = value
    return advised
