"""The figures of one run, from when its tokens came.

Knows no server and reads no clock. Counts come from the server's usage, never from events.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from client import Reply


@dataclass(frozen=True, slots=True)
class Figure:
    label: str
    higher_is_better: bool


FIGURES = {
    "output_tokens_per_s": Figure("output tokens/s", True),
    "ttft_ms_median": Figure("TTFT median, ms", False),
    "ttft_ms_p99": Figure("TTFT p99, ms", False),
    "tpot_ms_median": Figure("time per output token, ms", False),
    "itl_ms_median": Figure("inter-token latency median, ms", False),
    "itl_ms_p99": Figure("inter-token latency p99, ms", False),
}
"""The figures that a table may show; a run has more."""


def figures_of(replies: Sequence[Reply]) -> dict[str, float]:
    """By name. Times are milliseconds, except duration_s: first request sent to last stream ended.

    ttft: sent to first token. tpot, by request: first to last token, by tokens after the first.
    itl, by gap between two events with tokens, of all requests. e2e: sent to the stream's end.
    tokens_per_event: 1 where each token has an event of its own; above that, gaps are longer than
    the time of one token.
    """
    duration_s = max(r.ended_s for r in replies) - min(r.sent_s for r in replies)
    num_output_tokens = sum(r.num_output_tokens for r in replies)
    num_prompt_tokens = sum(r.num_prompt_tokens for r in replies)
    return {
        "duration_s": duration_s,
        "num_requests": len(replies),
        "num_prompt_tokens": num_prompt_tokens,
        "num_output_tokens": num_output_tokens,
        "num_cached_tokens": sum(r.num_cached_tokens or 0 for r in replies),
        "requests_per_s": len(replies) / duration_s,
        "output_tokens_per_s": num_output_tokens / duration_s,
        "total_tokens_per_s": (num_prompt_tokens + num_output_tokens) / duration_s,
        "tokens_per_event": num_output_tokens / sum(len(r.token_times_s) for r in replies),
        **_spread("ttft_ms", [r.token_times_s[0] - r.sent_s for r in replies]),
        **_spread("tpot_ms", [_time_per_token(r) for r in replies if r.num_output_tokens > 1]),
        **_spread("itl_ms", [b - a for r in replies for a, b in pairwise(r.token_times_s)]),
        **_spread("e2e_ms", [r.ended_s - r.sent_s for r in replies]),
    }


def _time_per_token(reply: Reply) -> float:
    return (reply.token_times_s[-1] - reply.token_times_s[0]) / (reply.num_output_tokens - 1)


def _spread(name: str, times_s: list[float]) -> dict[str, float]:
    if not times_s:
        return {}
    times_ms = [time_s * 1000 for time_s in times_s]
    # With one value there are no quantiles; twice the same value has that value everywhere.
    cuts = statistics.quantiles(
        times_ms * (2 if len(times_ms) == 1 else 1), n=100, method="inclusive"
    )
    return {
        f"{name}_mean": statistics.fmean(times_ms),
        f"{name}_median": statistics.median(times_ms),
        f"{name}_p90": cuts[89],
        f"{name}_p99": cuts[98],
        f"{name}_min": min(times_ms),
        f"{name}_max": max(times_ms),
    }
