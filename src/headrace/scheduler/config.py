"""The scheduler's limits."""

from dataclasses import dataclass

from headrace.scheduler.queue import SchedulingPolicy


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """Limits of one step and of one request."""

    max_num_seqs: int
    """Requests that run at once."""
    max_num_batched_tokens: int
    """Tokens computed in one step: the token budget."""
    max_model_len: int
    """Tokens of one request, prompt and output together."""
    max_adapters: int = 2**31
    """Different adapters of the requests that run at once."""
    policy: SchedulingPolicy = "fcfs"
    """The order in which requests are admitted; the reverse is that of preemptions."""

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "max_model_len", "max_adapters"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
