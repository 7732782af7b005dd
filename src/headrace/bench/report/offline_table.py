"""Offline results (``bench throughput``, ``bench latency``), which need no chart: a table."""

from collections.abc import Sequence

from headrace.bench.report.collection import Entry
from headrace.bench.report.elements import Table
from headrace.bench.report.units import milliseconds, short


def offline_table(entries: Sequence[Entry]) -> Table:
    rows = []
    for entry in entries:
        offline = entry.result.offline
        if offline is None:
            continue
        rows.append(
            [
                entry.name,
                offline.engine.model,
                offline.engine.dtype or "",
                str(offline.num_prompts),
                str(offline.input_len),
                str(offline.output_len),
                short(offline.output_tokens_per_s),
                short(offline.total_tokens_per_s),
                milliseconds(offline.batch_s.p50),
                milliseconds(offline.batch_s.p99),
                milliseconds(offline.time_per_token_s),
            ]
        )
    return Table(
        (
            *("file", "model", "dtype", "prompts", "tokens in", "tokens out", "output tokens/s"),
            *("all tokens/s", "batch p50", "p99", "per token"),
        ),
        rows,
        "Times in milliseconds.",
    )
