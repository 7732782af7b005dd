"""What one scheduling step decided, and what the model runner gave back for it."""

from dataclasses import dataclass, field

from headrace.core.outputs import RequestFailure, TokenLogprobs
from headrace.core.request import Request


@dataclass(slots=True)
class ScheduledRequest:
    """One request's share of the step: compute token_ids[start:start + num_tokens)."""

    request: Request
    start: int
    num_tokens: int
    block_ids: list[int]
    """All blocks of the request, in order; block i holds positions [i*B, (i+1)*B)."""
    num_new_blocks: int
    """How many at the end of block_ids were added in this step (all of them when the request
    starts or resumes), so that the runner can extend its table instead of rewriting it."""

    @property
    def samples(self) -> bool:
        """Whether this step computes the last known token, so that a next one is drawn."""
        return self.start + self.num_tokens == self.request.num_tokens


@dataclass(slots=True)
class SchedulerOutput:
    """One step. Decodes come first, so that the runner can treat them as one rectangle."""

    scheduled: list[ScheduledRequest] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    """Requests that left since the last step (finished, aborted or preempted): the runner drops
    what it keeps of them."""

    @property
    def num_tokens(self) -> int:
        return sum(entry.num_tokens for entry in self.scheduled)

    def __bool__(self) -> bool:
        return bool(self.scheduled)


@dataclass(slots=True)
class RunnerOutput:
    """The drawn tokens, in the order of those scheduled requests whose ``samples`` is true."""

    token_ids: list[int]
    logprobs: list[TokenLogprobs | None]
    failures: dict[str, RequestFailure] = field(default_factory=dict)
    """By request id, those for which no token could be drawn. Their entries in the lists above
    hold places and mean nothing."""


@dataclass(slots=True)
class TokenUpdate:
    """One token that a step added to a request, or the end of one that failed."""

    request: Request
    token_id: int | None
    """None where the request failed in this step; its ``failure`` says why."""
    logprobs: TokenLogprobs | None
