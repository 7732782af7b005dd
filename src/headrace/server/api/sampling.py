"""Converts a request body to SamplingParams."""

from collections.abc import Mapping
from typing import Any

from headrace.core.generation.sampling_params import SamplingParams
from headrace.server.api.schemas.requests import GenerationRequest

_SAMPLING_FIELDS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)
"""The model's defaults apply only to requests that set none of these."""

_COPIED_FIELDS = (
    *_SAMPLING_FIELDS,
    "n",
    "logit_bias",
    "seed",
    "include_stop_str_in_output",
    "min_tokens",
    "ignore_eos",
    "skip_special_tokens",
)


def to_sampling_params(
    body: GenerationRequest,
    defaults: Mapping[str, float],
    *,
    max_tokens: int | None,
    logprobs: int | None,
) -> SamplingParams:
    """Raises InvalidParameterError.

    defaults: the model's recommended parameters, for requests that set no sampling parameter.
    max_tokens, logprobs: their fields and defaults differ by endpoint.
    """
    fields: dict[str, Any] = {
        name: value for name in _COPIED_FIELDS if (value := getattr(body, name)) is not None
    }
    if fields.keys().isdisjoint(_SAMPLING_FIELDS):
        fields |= defaults
    stop = body.stop if body.stop is not None else []
    return SamplingParams(
        **fields,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        max_tokens=max_tokens,
        logprobs=logprobs,
        grammar=body.output_grammar(),
    )
