"""Results as tables of text, for a terminal. Computes no figure.

``headrace.cli.tables`` lays them out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from headrace.bench.figures.distribution import Distribution
from headrace.bench.figures.goodput import Goodput
from headrace.bench.figures.offline_figures import OfflineFigures
from headrace.bench.figures.pairing import COMPARED, PairedRatio
from headrace.bench.figures.run_figures import Figures
from headrace.bench.figures.series_summary import SeriesSummary
from headrace.bench.figures.sweep_curve import SweepCurve
from headrace.bench.memory.memory_watch import MemoryUse
from headrace.bench.results.result_file import RunResult

NOTHING = "-"
MIN_WAIT_S = 0.1
"""99th percentile from which waits are shown."""


class Row(NamedTuple):
    label: str
    value: str


@dataclass(frozen=True, slots=True)
class FieldList:
    """One labelled value per line."""

    rows: list[Row]


@dataclass(frozen=True, slots=True)
class TextTable:
    """Cells as text: the first ``num_keys`` columns identify a row, the others hold numbers."""

    headings: Sequence[str]
    rows: list[Sequence[str]]
    num_keys: int = 1
    bold_row: int | None = None
    """Index of the row that stands out."""


def run_tables(run: RunResult) -> list[FieldList | TextTable]:
    """One run: its counts and rates, and the distributions of its times."""
    return [FieldList(list(_run_rows(run))), _distribution_table(run.figures)]


def sweep_table(curve: SweepCurve, runs: Sequence[RunResult]) -> TextTable:
    """One row per load; the knee is marked."""
    headings = (
        "requests/s offered" if curve.axis == "request_rate" else "concurrency",
        *("requests/s", "output tokens/s", "TTFT p50, ms", "TTFT p99, ms"),
        *("TPOT p50, ms", "TPOT p99, ms", "latency p50, s", "latency p99, s", "failed"),
    )
    rows: list[Sequence[str]] = []
    knee_row = None
    for point in curve.points:
        figures = runs[point.run].figures
        is_knee = point.load == curve.knee
        if is_knee:
            knee_row = len(rows)
        row = (
            f"{point.load:g} (knee)" if is_knee else f"{point.load:g}",
            _number(figures.requests_per_s),
            _number(figures.output_tokens_per_s),
            _scaled(figures.ttft_s, "p50", 1000),
            _scaled(figures.ttft_s, "p99", 1000),
            _scaled(figures.tpot_s, "p50", 1000),
            _scaled(figures.tpot_s, "p99", 1000),
            _scaled(figures.latency_s, "p50", 1),
            _scaled(figures.latency_s, "p99", 1),
            str(figures.num_failed),
        )
        rows.append(row)
    return TextTable(headings, rows, bold_row=knee_row)


def comparison_table(ratios: Sequence[PairedRatio]) -> TextTable:
    """One row per figure of each target but the first."""
    headings = (
        *(f"ratio to {ratios[0].base}", "target", "median", "95 % interval", "verdict"),
        *("min", "max", "rounds"),
    )
    rows: list[Sequence[str]] = []
    for ratio in ratios:
        interval = NOTHING
        if ratio.low is not None and ratio.high is not None:
            interval = f"{ratio.low:.3f} to {ratio.high:.3f}"
        row = (
            COMPARED[ratio.figure].label,
            ratio.target,
            f"{ratio.median:.3f}",
            interval,
            ratio.verdict,
            f"{ratio.min:.3f}",
            f"{ratio.max:.3f}",
            str(len(ratio.rounds)),
        )
        rows.append(row)
    return TextTable(headings, rows, num_keys=2)


def experiment_table(summaries: Iterable[SeriesSummary]) -> TextTable:
    """One row per series; what all series have in common is not a column."""
    headings = (
        *("concurrency", "latency p50, s", "latency p99, s"),
        *("P2FT p50, s", "P2FT p99, s", "tokens/s each", "requests/s", "tokens/s"),
        *("GPU, MiB", "host, MiB", "tokens per answer", "failed"),
    )
    rows: list[Sequence[str]] = [
        (
            str(each.parallel),
            _quantile(each.latency_s, "p50"),
            _quantile(each.latency_s, "p99"),
            _quantile(each.p2ft_s, "p50"),
            _quantile(each.p2ft_s, "p99"),
            _quantile(each.generation_tokens_per_s, "p50"),
            f"{each.requests_per_s.mean:.3g}",
            f"{each.output_tokens_per_s.mean:.4g}",
            _mib(each.gpu_peak_bytes),
            _mib(each.host_peak_bytes),
            NOTHING if each.output_tokens_mean is None else f"{each.output_tokens_mean:.1f}",
            str(each.num_failed),
        )
        for each in summaries
    ]
    return TextTable(headings, rows)


def offline_table(figures: OfflineFigures) -> FieldList:
    engine = figures.engine
    batch_s = figures.batch_s
    rows = [
        Row("model", f"{engine.model}, {engine.dtype or 'unknown dtype'}"),
        Row(
            "prompts" if figures.mode == "throughput" else "batch",
            f"{figures.num_prompts} of {figures.input_len} tokens, {figures.output_len} new each",
        ),
        Row("time of a batch", _describe_batches(batch_s)),
        Row("requests/s", _number(figures.requests_per_s)),
        Row("output tokens/s", _number(figures.output_tokens_per_s)),
        Row("total tokens/s", _number(figures.total_tokens_per_s)),
        Row("time per output token", f"{figures.time_per_token_s * 1000:.2f} ms"),
        *_memory_rows(figures.memory),
    ]
    return FieldList(rows)


def _describe_batches(batch_s: Distribution) -> str:
    if batch_s.num == 1:
        return f"{batch_s.median:.3f} s, measured once"
    return (
        f"{batch_s.median:.3f} s median of {batch_s.num} "
        f"({batch_s.min:.3f} to {batch_s.max:.3f}, p90 {batch_s.p90:.3f}, p99 {batch_s.p99:.3f})"
    )


def describe_failures(figures: Figures) -> str:
    """``3 timeout, 1 cut``"""
    return ", ".join(f"{num} {kind}" for kind, num in figures.failures.items())


def format_bytes(num_bytes: int) -> str:
    """With a binary unit: 1.20 GiB."""
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def _run_rows(run: RunResult) -> Iterator[Row]:
    figures = run.figures
    failed = f", {figures.num_failed} failed" if figures.num_failed else ""
    yield Row("target", f"{run.server.model} at {run.base_url}")
    yield Row("requests", f"{figures.num_successful} answered{failed}")
    if run.is_interrupted:
        num_missing = int(run.setting["num_planned"]) - figures.num_requests
        yield Row(
            "INTERRUPTED", f"{num_missing} more were planned; incomplete requests are excluded"
        )
    if run.problem is not None:
        yield Row("PROBLEM", run.problem)
    if figures.num_failed:
        yield Row("failures", describe_failures(figures))
    yield Row("duration", f"{figures.duration_s:.2f} s")
    yield Row("requests/s", _number(figures.requests_per_s))
    yield Row("output tokens/s", _number(figures.output_tokens_per_s))
    yield Row("total tokens/s", _number(figures.total_tokens_per_s))
    yield Row("tokens in, out", f"{figures.num_prompt_tokens:,}, {figures.num_output_tokens:,}")
    yield Row("counted by", _token_source(figures))
    yield Row(
        "concurrency", f"{figures.mean_concurrency:.1f} mean, {figures.peak_concurrency} peak"
    )
    if figures.goodput is not None:
        yield Row("goodput", _describe_goodput(figures.goodput))
    yield from _memory_rows(run.memory)
    client = run.client
    yield Row(
        "client",
        f"{client.cpu_share:.0%} of a core, event loop {client.loop_lag_p99_s * 1000:.1f} ms late "
        f"(p99), sends {client.send_lag_p99_s * 1000:.1f} ms late (p99)",
    )
    if run.client_bound is not None:
        yield Row("CLIENT-BOUND", run.client_bound)


def _token_source(figures: Figures) -> str:
    tokens = figures.tokens
    parts = []
    if tokens.by_usage is not None:
        parts.append("the server's usage")
    if tokens.by_tokenizer is not None and tokens.by_usage is None:
        parts.append("the tokenizer")
    if tokens.tokenizer_to_usage is not None:
        parts.append(f"the tokenizer finds {tokens.tokenizer_to_usage - 1:+.2%}")
    if tokens.tokens_per_chunk is not None:
        parts.append(f"{tokens.tokens_per_chunk:.2f} tokens a chunk")
    if tokens.num_refused_usages:
        parts.append(
            f"the usage of {tokens.num_refused_usages} requests was rejected "
            f"({tokens.refused_usage})"
        )
    if tokens.num_uncounted_requests:
        parts.append(f"{tokens.num_uncounted_requests} requests not counted (use --tokenizer)")
    return "; ".join(parts) or NOTHING


def _describe_goodput(goodput: Goodput) -> str:
    limits = ", ".join(
        f"{each.name} {value * 1000:g} ms"
        for each in fields(goodput.limits)
        if (value := getattr(goodput.limits, each.name)) is not None
    )
    return (
        f"{_number(goodput.requests_per_s)} requests/s; {goodput.share:.1%} of all requests were "
        f"within {limits}"
    )


def _memory_rows(memory: MemoryUse | None) -> Iterator[Row]:
    if memory is None:
        return
    if memory.host_peak_bytes is not None:
        yield Row("host memory", f"{format_bytes(memory.host_peak_bytes)} peak")
    if memory.gpu_peak_bytes is not None:
        scope = "" if memory.gpu_scope == "processes" else " (total of all devices)"
        yield Row("GPU memory", f"{format_bytes(memory.gpu_peak_bytes)} peak{scope}")


def _distribution_table(figures: Figures) -> TextTable:
    names = ("mean", "std", "min", "p50", "p90", "p95", "p99", "max")
    rows: list[Sequence[str]] = []
    for label, distribution, scale in (
        ("TTFT, ms", figures.ttft_s, 1000),
        ("TPOT, ms", figures.tpot_s, 1000),
        ("ITL, ms", figures.itl_s, 1000),
        ("latency, ms", figures.latency_s, 1000),
        ("waited, ms", _shown_wait(figures), 1000),
        ("speed, tokens/s", figures.generation_tokens_per_s, 1),
    ):
        if distribution is not None:
            rows.append((label, *(_scaled(distribution, name, scale) for name in names)))
    return TextTable(("", *names), rows)


def _shown_wait(figures: Figures) -> Distribution | None:
    """None below MIN_WAIT_S, where it is the client's own delay."""
    wait_s = figures.wait_s
    return wait_s if wait_s is not None and wait_s.p99 >= MIN_WAIT_S else None


def _scaled(distribution: Distribution | None, name: str, scale: float) -> str:
    return NOTHING if distribution is None else _number(getattr(distribution, name) * scale)


def _quantile(distribution: Distribution | None, name: str) -> str:
    return NOTHING if distribution is None else f"{getattr(distribution, name):.3g}"


def _mib(num_bytes: int | None) -> str:
    return NOTHING if num_bytes is None else f"{num_bytes / 2**20:,.0f}"


def _number(value: float) -> str:
    """Up to four significant digits: 0.0123, 12.34, 1,234."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    decimals = 1 if size >= 100 else 2 if size >= 1 else 4
    return f"{value:.{decimals}f}"
