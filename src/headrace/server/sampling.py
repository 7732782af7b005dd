"""From a request's body to the engine's SamplingParams."""

from collections.abc import Mapping
from typing import Any

from headrace.core.sampling_params import SamplingParams
from headrace.server.protocol import GenerationRequest

_SAME_NAME = (
    "n",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
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
    """What was given, else the model's defaults, else ours; raises InvalidParameterError.

    ``max_tokens`` and ``logprobs`` are read differently by each endpoint.
    """
    given: dict[str, Any] = {**defaults}
    given |= {name: value for name in _SAME_NAME if (value := getattr(body, name)) is not None}
    stop = body.stop if body.stop is not None else []
    return SamplingParams(
        **given,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        max_tokens=max_tokens,
        logprobs=logprobs,
    )
