"""What the engine tells whoever counts: the seam between token flow and metrics."""

from dataclasses import dataclass
from typing import Protocol

from headrace.core.outputs import FinishReason, RequestTimes
from headrace.core.sampling_params import SamplingParams
from headrace.core.stats import EngineStats


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedChoice:
    """The account of one choice that ended, for whatever reason."""

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
    """Output tokens of the request's longest choice, told with the last of its choices to end."""


class EngineObserver(Protocol):
    """Called on the event loop's thread, once per event, so that sums are exact."""

    def on_stats(self, stats: EngineStats) -> None:
        """After each step; and, with no scheduled tokens, when requests come or go in between."""

    def on_first_token(self, num_prompt_tokens: int, num_cached_tokens: int, ttft_s: float) -> None:
        """A choice got its first token, so long after its arrival."""

    def on_tokens(self, num_tokens: int) -> None:
        """So many output tokens came, first ones included."""

    def on_inter_token(self, interval_s: float) -> None:
        """A choice got further tokens, so long after those before."""

    def on_finished(self, choice: FinishedChoice) -> None: ...
