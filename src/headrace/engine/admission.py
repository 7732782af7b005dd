"""Validates a request before the engine accepts it: its tokens, its length, the queue's capacity.

`check_request` is the one rule. LLM and AsyncEngine apply it to all prompts of a call before they
add any; the engine core applies it to what reaches it.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace.core.errors import (
    ContextLengthError,
    InvalidParameterError,
    TaskNotSupportedError,
)
from headrace.core.generation.pooling import PoolingParams, PoolingSpec
from headrace.core.generation.sampling_params import SamplingParams
from headrace.core.generation.token_ids import check_token_ids
from headrace.engine.adapters.loaded_adapter import LoadedAdapter

_ENDPOINTS = {
    "embed": "/v1/embeddings, /v1/score or /v1/rerank",
    "classify": "/classify, or, if it has one label, /v1/score and /v1/rerank",
}
"""Where a model answers, by its task."""


@dataclass(frozen=True, slots=True)
class NewRequest:
    """One prompt to compute, under its own id."""

    request_id: str
    prompt_token_ids: list[int]
    prompt: str | None = None
    """Its text, if it was given as text."""
    prior_output_token_ids: list[int] = field(default_factory=list)
    """The beginning of the output, if it was computed elsewhere: the deltas continue after it.
    Needs the seed of the original request, and n=1."""
    priority: int = 0
    """With the scheduling policy "priority": lower values are scheduled earlier."""
    pooling: PoolingParams | None = None
    """Asks for a vector, with n=1; None asks for tokens."""
    adapter: LoadedAdapter | None = None
    """None: the model alone."""


def check_request(
    prompt_token_ids: list[int],
    params: SamplingParams,
    *,
    vocab_size: int,
    max_model_len: int,
    max_logprobs: int = -1,
    prior_output_token_ids: Sequence[int] = (),
    pooling: PoolingParams | None = None,
    spec: PoolingSpec | None = None,
) -> int:
    """The most output tokens to compute for this request, at least 1: for ``max_tokens`` 0 too,
    whose token the OutputProcessor drops.

    max_logprobs: the most log-probabilities per position; -1 for no limit.
    prior_output_token_ids: the beginning of the output, if it was computed elsewhere. It counts as
    output: at least one more token must be allowed.
    pooling: the request asks for a vector. spec: the model gives vectors, and no text.
    Raises InvalidParameterError, ContextLengthError or TaskNotSupportedError.
    """
    if pooling is not None:
        _check_pooling(prompt_token_ids, pooling, spec, vocab_size, max_model_len)
        return 1  # as the scheduler counts the vector
    if spec is not None:
        raise TaskNotSupportedError(
            f"This model is served for the task {spec.task!r} and generates no text. Use "
            f"{_ENDPOINTS[spec.task]}, or a server with --task generate."
        )
    check_prompt(prompt_token_ids, vocab_size)
    check_token_ids("prior_output_token_ids", prior_output_token_ids, vocab_size)
    check_token_ids("logit_bias", params.logit_bias, vocab_size)
    check_token_ids("stop_token_ids", params.stop_token_ids, vocab_size)
    if params.allowed_token_ids:
        check_token_ids("allowed_token_ids", params.allowed_token_ids, vocab_size)
    if params.logprob_token_ids:
        check_token_ids("logprob_token_ids", params.logprob_token_ids, vocab_size)
    check_num_logprobs("logprobs", params.logprobs, max_logprobs)
    check_num_logprobs("prompt_logprobs", params.prompt_logprobs, max_logprobs)
    room = max_model_len - len(prompt_token_ids)
    if room < 1:
        raise ContextLengthError(len(prompt_token_ids), max_model_len)
    limit = room if params.max_tokens is None else max(1, params.max_tokens)
    if limit > room:
        raise ContextLengthError(len(prompt_token_ids), max_model_len, limit)
    if prior_output_token_ids:
        _check_continuation(len(prior_output_token_ids), params.n, limit)
    return limit


def check_num_logprobs(param: str, num: int | None, limit: int) -> None:
    """Raises InvalidParameterError for more than ``limit`` log-probabilities per position; -1 means
    the whole vocabulary as a number, and no limit as a limit."""
    if num is None or limit == -1 or 0 <= num <= limit:
        return
    asked = "the whole vocabulary (-1)" if num == -1 else str(num)
    raise InvalidParameterError(
        param, f"must be at most {limit} on this server (--max-logprobs), got {asked}"
    )


def check_prompt(token_ids: Sequence[int], vocab_size: int) -> None:
    """Raises InvalidParameterError when the model cannot read these tokens."""
    if not token_ids:
        raise InvalidParameterError("prompt", "must have at least one token")
    check_token_ids("prompt", token_ids, vocab_size)


def _check_pooling(
    prompt_token_ids: list[int],
    params: PoolingParams,
    spec: PoolingSpec | None,
    vocab_size: int,
    max_model_len: int,
) -> None:
    if spec is None:
        raise TaskNotSupportedError(
            "This model is served for the task 'generate' and gives no vectors. Start the server "
            "with --task embed, or serve an embedding model."
        )
    check_prompt(prompt_token_ids, vocab_size)
    if len(prompt_token_ids) > max_model_len:
        raise ContextLengthError(len(prompt_token_ids), max_model_len)
    if params.dimensions is not None and spec.task != "embed":
        raise InvalidParameterError("dimensions", "is for embeddings, and this is a classifier")
    if params.dimensions is not None and not 1 <= params.dimensions <= spec.size:
        raise InvalidParameterError(
            "dimensions",
            f"must be between 1 and {spec.size}, the model's own, got {params.dimensions}",
        )


def _check_continuation(num_prior: int, num_choices: int, limit: int) -> None:
    if num_choices != 1:
        raise InvalidParameterError("n", f"must be 1 to continue an output, got {num_choices}")
    if num_prior >= limit:
        raise InvalidParameterError(
            "prior_output_token_ids",
            f"has {num_prior} tokens, and the output may have {limit}: none is left to compute",
        )


def check_capacity(num_choices: int, num_prompts: int, max_num_seqs: int, max_queue: int) -> None:
    """Raises InvalidParameterError when ``num_choices`` of each of ``num_prompts`` can never be
    accepted at once, even by an idle engine."""
    num_new = num_choices * num_prompts
    capacity = max_num_seqs + max_queue
    if num_new <= capacity:
        return
    is_list = num_prompts > 1
    asked = f"a list of {num_prompts} prompts with n={num_choices}" if is_list else "n"
    raise InvalidParameterError(
        "prompt" if is_list else "n",
        f"{asked} asks for {num_new} choices, but this server accepts at most {capacity} at once: "
        f"{max_num_seqs} run (--max-num-seqs) and {max_queue} wait (--max-queue). Send fewer.",
    )


def choose_seed(params: SamplingParams) -> int:
    """The caller's seed, or a random one."""
    return secrets.randbits(63) if params.seed is None else params.seed
