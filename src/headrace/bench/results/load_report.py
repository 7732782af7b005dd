"""A load test's report in the format of ``hey`` (https://github.com/rakyll/hey)."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from headrace.bench.figures.run_figures import Figures
from headrace.bench.records import RequestRecord

NUM_BARS = 10
BAR_WIDTH = 40
PERCENTILES = (10, 25, 50, 75, 90, 95, 99)
MAX_NUM_ERRORS = 5


def load_report(figures: Figures, records: Sequence[RequestRecord]) -> str:
    latencies_s = [record.latency_s for record in records if record.is_successful]
    return "\n".join(
        [
            *_summary(figures, records),
            *_histogram(latencies_s),
            *_latencies(latencies_s),
            *_details([record for record in records if record.is_successful]),
            *_statuses(figures),
            *_errors(records),
        ]
    )


def _summary(figures: Figures, records: Sequence[RequestRecord]) -> Iterator[str]:
    yield "Summary:"
    yield f"  Total:        {figures.duration_s:.4f} secs"
    if figures.latency_s is not None:
        yield f"  Slowest:      {figures.latency_s.max:.4f} secs"
        yield f"  Fastest:      {figures.latency_s.min:.4f} secs"
        yield f"  Average:      {figures.latency_s.mean:.4f} secs"
    yield f"  Requests/sec: {figures.requests_per_s:.4f}"
    if figures.num_output_tokens:
        yield f"  Tokens/sec:   {figures.output_tokens_per_s:.2f} (output)"
        yield f"  Tokens:       {figures.num_prompt_tokens:,} in, {figures.num_output_tokens:,} out"
    num_bytes = sum(record.num_bytes for record in records if record.is_successful)
    if figures.num_successful:
        yield f"  Total data:   {num_bytes:,} bytes"
        yield f"  Size/request: {num_bytes / figures.num_successful:,.0f} bytes"
    if figures.ttft_s is not None:
        yield (
            f"  First token:  {figures.ttft_s.p50:.4f} secs (median), "
            f"{figures.ttft_s.p99:.4f} secs (p99)"
        )


def _histogram(latencies_s: Sequence[float]) -> Iterator[str]:
    if not latencies_s:
        return
    yield "\nResponse time histogram:"
    low, high = min(latencies_s), max(latencies_s)
    if low == high:
        yield f"  {low:.3f} [{len(latencies_s)}] |{'■' * BAR_WIDTH}"
        return
    counts, edges = np.histogram(latencies_s, bins=NUM_BARS, range=(low, high))
    decimals = max(3, 2 - math.floor(math.log10((high - low) / NUM_BARS)))
    width = len(str(counts.max()))
    for count, edge in zip(counts.tolist(), edges[1:].tolist(), strict=True):
        bar = "■" * round(BAR_WIDTH * count / counts.max())
        yield f"  {edge:.{decimals}f} [{count}]{' ' * (width - len(str(count)))} |{bar}"


def _latencies(latencies_s: Sequence[float]) -> Iterator[str]:
    if not latencies_s:
        return
    yield "\nLatency distribution:"
    for percent in PERCENTILES:
        yield f"  {percent}% in {np.percentile(latencies_s, percent):.4f} secs"


def _details(good: Sequence[RequestRecord]) -> Iterator[str]:
    """The three phases of a request, which add up to its latency."""
    parts = {
        "connecting": [record.connect_s for record in good],
        "waiting": [
            record.head_s - record.sent_s - record.connect_s
            for record in good
            if record.head_s is not None
        ],
        "reading": [record.ended_s - record.head_s for record in good if record.head_s is not None],
    }
    if not all(parts.values()):
        return
    yield "\nDetails (average, fastest, slowest):"
    for name, times_s in parts.items():
        spread = ", ".join(f"{time:.4f} secs" for time in _average_and_ends(times_s))
        yield f"  {name + ':':<12}{spread}"


def _average_and_ends(values: Sequence[float]) -> list[float]:
    return [sum(values) / len(values), min(values), max(values)]


def _statuses(figures: Figures) -> Iterator[str]:
    if not figures.statuses:
        return
    yield "\nStatus code distribution:"
    for status, count in figures.statuses.items():
        yield f"  [{status}] {count} responses"


def _errors(records: Sequence[RequestRecord]) -> Iterator[str]:
    errors = Counter(
        f"{record.failure}: {record.error}" for record in records if not record.is_successful
    )
    if not errors:
        return
    yield "\nError distribution:"
    for error, count in errors.most_common(MAX_NUM_ERRORS):
        yield f"  [{count}] {error}"
    if len(errors) > MAX_NUM_ERRORS:
        yield f"  and {len(errors) - MAX_NUM_ERRORS} more kinds"
