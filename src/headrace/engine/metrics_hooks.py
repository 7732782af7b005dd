"""The events from which a server's metrics are computed."""

from dataclasses import dataclass
from typing import Protocol

from headrace.core.generation.outputs import FinishReason, RequestTimes
from headrace.core.generation.sampling_params import SamplingParams
from headrace.core.generation.stats import EngineStats


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedChoice:
    """One choice that ended, for any reason."""

    finish_reason: FinishReason
    params: SamplingParams
    max_output_tokens: int
    num_prompt_tokens: int
    num_cached_tokens: int
    num_output_tokens: int
    num_preemptions: int
    arrival_time: float
    finished_time: float
    times: RequestTimes | None
    """None if it ended before its first token."""
    longest_choice: int | None = None
    """Output tokens of the request's longest choice; set for the last of its choices to end."""


class EngineObserver(Protocol):
    """Called on the event loop's thread, once per event."""

    def on_stats(self, stats: EngineStats) -> None:
        """After each step, and between steps (no scheduled tokens) when requests come or end."""

    def on_first_token(self, num_prompt_tokens: int, num_cached_tokens: int, ttft_s: float) -> None:
        """A choice got its first token, ``ttft_s`` after its arrival."""

    def on_vector(self, num_prompt_tokens: int, num_cached_tokens: int, latency_s: float) -> None:
        """A request for a vector got it, ``latency_s`` after its arrival."""

    def on_tokens(self, num_tokens: int) -> None:
        """``num_tokens`` output tokens arrived, first ones included."""

    def on_inter_token(self, interval_s: float) -> None:
        """A choice got further tokens, ``interval_s`` after the previous ones."""

    def on_finished(self, choice: FinishedChoice) -> None: ...
