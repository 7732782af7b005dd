"""From a request's body to the engine's SamplingParams."""

from collections.abc import Mapping
from typing import Any

from headrace.core.sampling_params import SamplingParams
from headrace.server.api.request_schemas import GenerationRequest

_HOW_TO_DRAW = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
)
"""A request that names one of these is left as it is."""

_SAME_NAME = (
    *_HOW_TO_DRAW,
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
    """What was given; raises InvalidParameterError.

    defaults: the model's own, for a request that says nothing of how to draw.

    ``max_tokens`` and ``logprobs`` are read differently by each endpoint.
    """
    given: dict[str, Any] = {
        name: value for name in _SAME_NAME if (value := getattr(body, name)) is not None
    }
    if given.keys().isdisjoint(_HOW_TO_DRAW):
        given |= defaults
    stop = body.stop if body.stop is not None else []
    return SamplingParams(
        **given,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        max_tokens=max_tokens,
        logprobs=logprobs,
    )
