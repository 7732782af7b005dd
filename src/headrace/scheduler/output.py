"""The data of one step: what to compute, and what the model runner computed.

Both directions can be encoded with msgspec, so the runner may be in another process or on several
devices: a `SchedulerOutput` never holds a live `Request`.
"""

from dataclasses import dataclass

import msgspec

from headrace.core.generation.outputs import RequestFailure, TokenLogprobs
from headrace.core.generation.pooling import PoolingParams
from headrace.core.generation.request import Request
from headrace.core.generation.sampling_params import SamplingParams


class AdmittedRequest(msgspec.Struct, frozen=True, array_like=True):
    """All that the runner needs to know of a request. Sent once, when the scheduler admits it, and
    again when it admits it after a preemption."""

    request_id: str
    prompt_token_ids: list[int]
    output_token_ids: list[int]
    """The output so far: of a request that resumes, or that began elsewhere."""
    params: SamplingParams
    seed: int
    choice: int
    eos_token_ids: frozenset[int]
    num_prompt_logprobs: int | None = None
    """Prompt tokens, from the second one on, whose log-probabilities the scheduler has; the runner
    computes the others. None if none are wanted."""
    pooling: PoolingParams | None = None
    """Asks for a vector in place of tokens."""
    adapter_id: int = 0
    """0: none."""


class ScheduledRequest(msgspec.Struct, frozen=True, array_like=True):
    """One request's share of the step: compute positions [start, start + num_tokens)."""

    request_id: str
    start: int
    num_tokens: int
    new_block_ids: list[int]
    """Blocks to append to the request's block table, in order; all its blocks where the step admits
    it. Block i of the table holds positions [i*B, (i+1)*B). Where all layers have a sliding window,
    those before the window are never read: their ids may be -1, or have been freed since."""
    new_token_ids: list[int]
    """Tokens to append to those that the runner has, in order: the tokens that were accepted since
    the request's last entry. Empty where the step admits it."""
    needs_sample: bool
    """Whether this step computes the last known token, so that the next one is to be drawn."""


class SchedulerOutput(msgspec.Struct, array_like=True):
    """One step. The runner applies ``released``, then ``admitted``, then ``scheduled``.

    Decodes come first in ``scheduled``, so that the runner can treat them as one rectangle.
    """

    scheduled: list[ScheduledRequest] = []
    admitted: list[AdmittedRequest] = []
    released: list[str] = []
    """Requests that left since the last step (finished, aborted or preempted): the runner frees
    its state of them. Ids that the runner never got are possible. An id may also be in
    ``admitted``: then a new request has it."""

    @property
    def num_tokens(self) -> int:
        return sum(entry.num_tokens for entry in self.scheduled)

    def __bool__(self) -> bool:
        return bool(self.scheduled)


class SampledTokens(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The tokens that follow a request's known ones, in order: one, none or several."""

    token_ids: list[int]
    logprobs: list[TokenLogprobs] | None = None
    """One a token, if the request asks for them."""
    completes_output: bool = False
    """Nothing may follow the last of them: the request's grammar has ended."""


class PooledVector(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A vector in place of tokens, such as an embedding. It ends the request."""

    values: bytes
    """float32, little-endian."""


class FailedEntry(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The request cannot go on; the others of the step are not affected."""

    failure: RequestFailure


EntryResult = SampledTokens | PooledVector | FailedEntry


class RunnerOutput(msgspec.Struct, array_like=True):
    """What a step computed."""

    results: list[EntryResult | None]
    """One for each entry of ``SchedulerOutput.scheduled``, in its order; None for an entry of which
    only the keys and values were wanted."""
    prompt_logprobs: dict[str, list[TokenLogprobs]] = {}
    """By request id: of the prompt tokens that follow the positions of this step, in order."""


@dataclass(slots=True)
class TokenUpdate:
    """The tokens that a step added to a request, or the end of one that failed or was pooled."""

    request: Request
    token_ids: list[int]
    """Empty where the request failed in this step; its ``failure`` says why. Empty too where it
    ended with its ``vector``."""
    logprobs: list[TokenLogprobs] | None
    """One a token, if the request asks for them."""
