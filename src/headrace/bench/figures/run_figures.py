"""The figures of a run, computed from its records. docs/measure.md has the formulas.

Pure: the same records give the same figures. Times are in seconds.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from headrace.bench.figures.distribution import Distribution, distribution_of
from headrace.bench.figures.goodput import Goodput, GoodputLimits, LimitedTimes
from headrace.bench.records import RequestRecord

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Output tokens of successful requests, counted in three ways.

    Figures use the server's usage, and the tokenizer's count for a request without usage. Chunks
    are never counted as tokens; their number shows how far off that would be.
    """

    by_usage: int | None
    """Sum over the requests whose response had a usage; None if none had."""
    by_tokenizer: int | None
    """Sum over the requests whose text was counted; None without a tokenizer."""
    num_chunks: int
    """Streamed chunks with text."""
    tokenizer_to_usage: float | None
    """by_tokenizer / by_usage, over the requests that have both. Rarely exactly 1: a text may be
    tokenized differently from how it was generated, and the end token has no text."""
    tokens_per_chunk: float | None
    """Tokens / chunks, over the streamed requests. Above 1, the server puts several tokens into a
    chunk, and the gap between chunks is longer than the time per token."""
    num_uncounted_requests: int
    """Successful requests with neither usage nor tokenizer; token figures exclude them."""
    num_refused_usages: int = 0
    """Successful requests whose usage was invalid (negative, not a number, or 0 for a response with
    text). The tokenizer's count is used instead."""
    refused_usage: str | None = None
    """Why the first of them was rejected."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one run."""

    num_requests: int
    num_successful: int
    num_failed: int
    failures: dict[str, int]
    """Requests by kind of failure (``records.Failure``)."""
    statuses: dict[str, int]
    """Requests by HTTP status; requests without a response are not included."""
    finish_reasons: dict[str, int]
    duration_s: float
    """From the first send to the last completion."""
    num_prompt_tokens: int
    """Of successful requests, by usage."""
    num_output_tokens: int
    """Of successful requests, by usage or tokenizer; see TokenCounts."""
    tokens: TokenCounts
    requests_per_s: float
    """num_successful / duration_s"""
    output_tokens_per_s: float
    """num_output_tokens / duration_s"""
    total_tokens_per_s: float
    """(num_prompt_tokens + num_output_tokens) / duration_s"""
    mean_concurrency: float
    """Sum of all requests' latencies / duration_s (Little's law): requests in flight."""
    peak_concurrency: int
    """Maximum number of requests in flight."""
    latency_s: Distribution | None
    """Of each successful request: ended - sent. vLLM calls it E2EL."""
    ttft_s: Distribution | None
    """Time to first token, of each streamed successful request: first token - sent. Also known as
    P2FT, prompt to first token."""
    tpot_s: Distribution | None
    """Time per output token; see ``time_per_output_token_s``."""
    itl_s: Distribution | None
    """Inter-token latency: all gaps of all requests together; see ``gaps_s``."""
    generation_tokens_per_s: Distribution | None
    """Token generation speed of each request; see ``generation_speed``."""
    goodput: Goodput | None
    """None without limits."""
    wait_s: Distribution | None = None
    """Of each successful request at a rate or by a trace: sent - due, the time queued in the client
    because of ``--concurrency``. It is not part of the latency; a user would experience both."""


def figures_of(
    records: Sequence[RequestRecord], duration_s: float, limits: GoodputLimits | None = None
) -> Figures:
    """The figures of one run. Failed requests count in failures, concurrency and goodput only."""
    good = [record for record in records if record.is_successful]
    num_prompt_tokens = sum(record.num_prompt_tokens or 0 for record in good)
    num_output_tokens = sum(output_tokens(record) or 0 for record in good)
    return Figures(
        num_requests=len(records),
        num_successful=len(good),
        num_failed=len(records) - len(good),
        failures=_count(record.failure for record in records),
        statuses=_count(record.status for record in records),
        finish_reasons=_count(record.finish_reason for record in good),
        duration_s=duration_s,
        num_prompt_tokens=num_prompt_tokens,
        num_output_tokens=num_output_tokens,
        tokens=_token_counts(good),
        requests_per_s=_rate(len(good), duration_s),
        output_tokens_per_s=_rate(num_output_tokens, duration_s),
        total_tokens_per_s=_rate(num_prompt_tokens + num_output_tokens, duration_s),
        mean_concurrency=_rate(sum(record.latency_s for record in records), duration_s),
        peak_concurrency=_peak_concurrency(records),
        latency_s=distribution_of([record.latency_s for record in good]),
        ttft_s=distribution_of(_known(record.ttft_s for record in good)),
        tpot_s=distribution_of(_known(map(time_per_output_token_s, good))),
        itl_s=distribution_of([gap for record in good for gap in gaps_s(record)]),
        wait_s=distribution_of(_known(record.wait_s for record in good)),
        generation_tokens_per_s=distribution_of(_known(map(generation_speed, good))),
        goodput=None if limits is None else _goodput(records, duration_s, limits),
    )


def bare_figures(records: Sequence[RequestRecord], duration_s: float) -> Figures:
    """Counts only, for when computing the figures has failed; all rates are 0."""
    num_successful = sum(record.is_successful for record in records)
    return Figures(
        num_requests=len(records),
        num_successful=num_successful,
        num_failed=len(records) - num_successful,
        failures=_count(record.failure for record in records),
        statuses=_count(record.status for record in records),
        finish_reasons={},
        duration_s=duration_s,
        num_prompt_tokens=0,
        num_output_tokens=0,
        tokens=TokenCounts(None, None, 0, None, None, num_successful),
        requests_per_s=0.0,
        output_tokens_per_s=0.0,
        total_tokens_per_s=0.0,
        mean_concurrency=0.0,
        peak_concurrency=0,
        latency_s=None,
        ttft_s=None,
        tpot_s=None,
        itl_s=None,
        generation_tokens_per_s=None,
        goodput=None,
    )


def output_tokens(record: RequestRecord) -> int | None:
    """By the server's usage, else by the tokenizer; None if neither is known. Never by chunks."""
    if record.num_output_tokens is not None:
        return record.num_output_tokens
    return record.num_counted_tokens


def time_per_output_token_s(record: RequestRecord) -> float | None:
    """TPOT = (ended - first token) / (output tokens - 1).

    None if not streamed, or with fewer than two tokens. It does not depend on the number of tokens
    per chunk.
    """
    num_tokens = output_tokens(record)
    if record.first_token_s is None or num_tokens is None or num_tokens < 2:
        return None
    return (record.ended_s - record.first_token_s) / (num_tokens - 1)


def gaps_s(record: RequestRecord) -> list[float]:
    """ITL: the times between consecutive chunks with text.

    With one token per chunk, this is the time between tokens. With more (``tokens_per_chunk``),
    it is the time between chunks; compare servers by TPOT then.
    """
    return [later - earlier for earlier, later in pairwise(record.chunk_times_s)]


def generation_speed(record: RequestRecord) -> float | None:
    """Token generation speed = output tokens / latency, in tokens/s, streamed or not."""
    num_tokens = output_tokens(record)
    if num_tokens is None or record.latency_s <= 0:
        return None
    return num_tokens / record.latency_s


def is_well_served(record: RequestRecord, limits: GoodputLimits) -> bool:
    """Whether the request succeeded within all limits."""
    if not record.is_successful:
        return False
    gaps = gaps_s(record)
    return limits.allow(
        LimitedTimes(
            ttft=record.ttft_s,
            tpot=time_per_output_token_s(record),
            itl=sum(gaps) / len(gaps) if gaps else None,
            max_itl=max(gaps, default=None),
            e2el=record.latency_s,
        )
    )


def _goodput(records: Sequence[RequestRecord], duration_s: float, limits: GoodputLimits) -> Goodput:
    num_good = sum(is_well_served(record, limits) for record in records)
    return Goodput(
        limits=limits,
        num_good=num_good,
        requests_per_s=_rate(num_good, duration_s),
        share=_rate(num_good, len(records)),
    )


def _token_counts(good: Sequence[RequestRecord]) -> TokenCounts:
    refused = [record.usage_error for record in good if record.usage_error is not None]
    by_usage = _known(record.num_output_tokens for record in good)
    by_tokenizer = _known(record.num_counted_tokens for record in good)
    both = [
        (record.num_counted_tokens, record.num_output_tokens)
        for record in good
        if record.num_counted_tokens is not None and record.num_output_tokens is not None
    ]
    chunked = [
        (tokens, len(record.chunk_times_s))
        for record in good
        if record.chunk_times_s and (tokens := output_tokens(record)) is not None
    ]
    return TokenCounts(
        by_usage=sum(by_usage) if by_usage else None,
        by_tokenizer=sum(by_tokenizer) if by_tokenizer else None,
        num_chunks=sum(len(record.chunk_times_s) for record in good),
        tokenizer_to_usage=_ratio(both),
        tokens_per_chunk=_ratio(chunked),
        num_uncounted_requests=sum(output_tokens(record) is None for record in good),
        num_refused_usages=len(refused),
        refused_usage=refused[0] if refused else None,
    )


def _peak_concurrency(records: Sequence[RequestRecord]) -> int:
    # At equal times, ends sort before starts: a worker's next request starts as its last one ends.
    changes = sorted(
        change for record in records for change in ((record.sent_s, 1), (record.ended_s, -1))
    )
    peak = current = 0
    for _, change in changes:
        current += change
        peak = max(peak, current)
    return peak


def _count(values: Iterable[object]) -> dict[str, int]:
    """Most frequent first; None is not counted."""
    return dict(Counter(str(value) for value in values if value is not None).most_common())


def _known(values: Iterable[Number | None]) -> list[Number]:
    return [value for value in values if value is not None]


def _rate(amount: float, duration_s: float) -> float:
    return amount / duration_s if duration_s > 0 else 0.0


def _ratio(pairs: Sequence[tuple[int, int]]) -> float | None:
    below = sum(pair[1] for pair in pairs)
    return sum(pair[0] for pair in pairs) / below if below else None
