"""Converts a request body to SamplingParams."""

from collections.abc import Mapping
from typing import Any

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.admission import check_num_logprobs
from headrace.engine.config import EngineConfig
from headrace.engine.tokenization.input_encoder import Truncation
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
    prompt_logprobs: int | None,
) -> SamplingParams:
    """Raises InvalidParameterError.

    defaults: the model's recommended parameters, for requests that set no sampling parameter.
    max_tokens, logprobs, prompt_logprobs: their fields and defaults differ by endpoint.
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
        prompt_logprobs=prompt_logprobs,
        logprob_token_ids=tuple(body.logprob_token_ids or ()),
        allowed_token_ids=tuple(body.allowed_token_ids or ()),
        bad_words=tuple(body.bad_words or ()),
    )


def check_engine_options(
    body: GenerationRequest, config: EngineConfig, **num_logprobs: int | None
) -> None:
    """Raises InvalidParameterError for what this server's options do not allow.

    num_logprobs: numbers of log-probabilities, by the names of their fields.
    """
    for name, number in num_logprobs.items():
        check_num_logprobs(name, number, config.max_logprobs)
    check_num_logprobs("prompt_logprobs", body.prompt_logprobs, config.max_logprobs)
    if body.priority and config.scheduling_policy != "priority":
        raise InvalidParameterError(
            "priority", "requires a server started with --scheduling-policy priority; send 0"
        )


def truncation_of(
    body: GenerationRequest, max_model_len: int, max_tokens: int | None
) -> Truncation | None:
    """How to truncate the prompts; None: not at all."""
    limit = body.truncate_prompt_tokens
    if limit is None:
        return None
    if limit == -1:
        limit = max(1, max_model_len - max(1, max_tokens or 1))
    return Truncation(limit, body.truncation_side or "left")
