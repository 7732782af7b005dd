"""A request as the scheduler sees it: token ids, how far they are computed, why it ended."""

from dataclasses import dataclass, field
from enum import StrEnum

from headrace.core.generation.outputs import FinishReason, RequestFailure
from headrace.core.generation.pooling import PoolingParams
from headrace.core.generation.sampling_params import SamplingParams


class RequestStatus(StrEnum):
    """Where a request stands in the scheduler."""

    WAITING = "waiting"
    RUNNING = "running"
    PREEMPTED = "preempted"
    """Lost its blocks; waits at the front of the queue to be computed again."""
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Request:
    """One choice of one prompt. Only the scheduler changes it."""

    request_id: str
    prompt_token_ids: list[int]
    params: SamplingParams
    max_output_tokens: int
    """max_tokens, or what the context length leaves; always at least 1."""
    arrival_time: float
    """Monotonic seconds; only for metrics."""
    choice: int = 0
    """Index among the n choices of the prompt; part of the random key."""
    seed: int = 0
    """The random key's first part: the caller's seed, or one that the server drew."""
    eos_token_ids: frozenset[int] = frozenset()
    priority: int = 0
    """With the scheduling policy "priority": lower values are scheduled earlier."""
    cache_salt: str = ""
    """Prefix-cache blocks are shared only between requests with the same salt and adapter."""
    adapter_id: int = 0
    """The LoRA adapter, whose id no other one ever has; 0: none."""
    prior_output_token_ids: list[int] = field(default_factory=list)
    """Output tokens that were computed elsewhere. They are the beginning of this request's output:
    penalties, min_tokens, max_output_tokens and random keys count them."""
    pooling: PoolingParams | None = None
    """Asks for a vector, which ends the request; None asks for tokens."""
    skips_cached_prefix: bool = False
    """Computes the whole prompt: its vector needs the hidden states of all tokens."""

    status: RequestStatus = RequestStatus.WAITING
    token_ids: list[int] = field(init=False)
    """Prompt, then output, prior output included."""
    num_sent_tokens: int = 0
    """The runner has token_ids[0:num_sent_tokens)."""
    num_computed_tokens: int = 0
    """token_ids[0:num_computed_tokens) have their keys and values in the cache."""
    num_cached_tokens: int = 0
    """Of those, how many came from the prefix cache when the request was first scheduled."""
    num_prompt_logprobs: int = 0
    """Prompt tokens, from the second one on, whose log-probabilities were computed."""
    num_preemptions: int = 0
    finish_reason: FinishReason | None = None
    stop_token_id: int | None = None
    """The stop token that ended it; None for EOS."""
    is_complete: bool = False
    """Whether the last token completed what its grammar demands. Unlike EOS it is text."""
    failure: RequestFailure | None = None
    """With FinishReason.ERROR: why."""
    vector: bytes | None = None
    """The result of a request with ``pooling``."""
    queued_time: float = 0.0
    scheduled_time: float | None = None
    first_token_time: float | None = None
    last_token_time: float | None = None

    def __post_init__(self) -> None:
        self.token_ids = [*self.prompt_token_ids, *self.prior_output_token_ids]

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.prompt_token_ids)

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - len(self.prompt_token_ids)

    @property
    def num_new_tokens(self) -> int:
        """Output tokens that were computed here."""
        return self.num_output_tokens - len(self.prior_output_token_ids)

    @property
    def lacks_prompt_logprobs(self) -> bool:
        """Whether log-probabilities of prompt tokens are still to be computed."""
        return (
            self.params.prompt_logprobs is not None
            and self.num_prompt_logprobs < len(self.prompt_token_ids) - 1
        )

    @property
    def num_reusable_tokens(self) -> int:
        """The known tokens whose keys and values may come from the prefix cache: not the last one,
        whose logits give the next token, and none whose logits give a log-probability."""
        if self.lacks_prompt_logprobs:
            return self.num_prompt_logprobs
        return len(self.token_ids) - 1

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    def fail(self, failure: RequestFailure) -> None:
        """End the request without a further token."""
        self.failure = failure
        self.finish_reason = FinishReason.ERROR

    def complete(self) -> None:
        """End the request after its last token, unless that token is an end of its own."""
        if self.finish_reason is not FinishReason.STOP:
            self.finish_reason = FinishReason.STOP
            self.is_complete = True

    def pool(self, vector: bytes) -> None:
        """End the request with its vector: float32, little-endian."""
        self.vector = vector
        self.finish_reason = FinishReason.STOP

    def append_token(self, token_id: int) -> FinishReason | None:
        """Add one output token; returns the finish reason if it ends the request.

        EOS and stop tokens do not end it before ``min_tokens`` outputs.
        """
        self.token_ids.append(token_id)
        num_output = self.num_output_tokens
        params = self.params
        if num_output >= params.min_tokens:
            if token_id in self.eos_token_ids and not params.ignore_eos:
                self.finish_reason = FinishReason.STOP
                return self.finish_reason
            if token_id in params.stop_token_ids:
                self.finish_reason = FinishReason.STOP
                self.stop_token_id = token_id
                return self.finish_reason
        if num_output >= self.max_output_tokens:
            self.finish_reason = FinishReason.LENGTH
        return self.finish_reason
