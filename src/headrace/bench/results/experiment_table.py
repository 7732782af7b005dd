"""The experiment's series as a table for a terminal. Works out no figure of its own."""

from collections.abc import Iterable

from headrace.bench.figures.distribution import Distribution
from headrace.bench.figures.series_summary import SeriesSummary
from headrace.bench.results.experiment_csv import MIB
from headrace.bench.results.folding_table import FoldingTable

NOTHING = "-"


def experiment_table(summaries: Iterable[SeriesSummary]) -> FoldingTable:
    """A row a series; what they are all of is no column of it."""
    table = FoldingTable(
        (
            *("at once", "latency p50, s", "latency p99, s"),
            *("P2FT p50, s", "P2FT p99, s", "tokens/s each", "requests/s", "tokens/s"),
            *("GPU, MiB", "host, MiB", "tokens an answer", "failed"),
        ),
    )
    for each in summaries:
        table.add_row(
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
    return table


def _quantile(distribution: Distribution | None, name: str) -> str:
    return NOTHING if distribution is None else f"{getattr(distribution, name):.3g}"


def _mib(num_bytes: int | None) -> str:
    return NOTHING if num_bytes is None else f"{num_bytes / MIB:,.0f}"
