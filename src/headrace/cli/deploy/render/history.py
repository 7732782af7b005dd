"""Renders the metrics of revisions for the terminal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headrace.cli.deploy.render.resources import show_time
from headrace.cli.tables import print_table

if TYPE_CHECKING:
    from headrace.control.api.responses import HistoryView, RevisionHistoryView


@dataclass(frozen=True, slots=True)
class _Column:
    heading: str
    metric: str
    show: Callable[[float], str]


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _milliseconds(value: float) -> str:
    return f"{_number(value * 1000)} ms"


def _percent(value: float) -> str:
    return f"{value * 100:.0f} %"


_COLUMNS = (
    _Column("Ready", "num_ready_replicas", _number),
    _Column("Requests/s", "requests_per_s", _number),
    _Column("Errors/s", "errors_per_s", _number),
    _Column("TTFT p50", "ttft_p50_s", _milliseconds),
    _Column("TTFT p95", "ttft_p95_s", _milliseconds),
    _Column("ITL p50", "inter_token_latency_p50_s", _milliseconds),
    _Column("ITL p95", "inter_token_latency_p95_s", _milliseconds),
    _Column("Prompt Tokens/s", "prompt_tokens_per_s", _number),
    _Column("Output Tokens/s", "generation_tokens_per_s", _number),
    _Column("Running", "num_running", _number),
    _Column("Waiting", "num_waiting", _number),
    _Column("KV Cache", "kv_cache_usage", _percent),
    _Column("Prefix Hits", "prefix_cache_hit_ratio", _percent),
    _Column("Preemptions/s", "preemptions_per_s", _number),
)


def print_history(history: "HistoryView") -> None:
    """The last known step of each revision."""
    rows = [_row(history, revision) for revision in history.revisions]
    print(f"{len(rows)} revision(s) with samples of the last {history.period}.")
    if not rows:
        print("The control plane takes a sample every 15 seconds.")
        return
    print(f"Means of {history.step_s} s.")
    print()
    print_table(("Revision", *(column.heading for column in _COLUMNS), "When"), rows)


def _row(history: "HistoryView", revision: "RevisionHistoryView") -> Sequence[str]:
    series = {column.metric: getattr(revision, column.metric) for column in _COLUMNS}
    known = [
        index
        for index in range(len(history.times))
        if any(values[index] is not None for values in series.values())
    ]
    if not known:
        return (str(revision.number), *("-" for _ in _COLUMNS), "-")
    last = known[-1]
    cells = (_cell(column, series[column.metric][last]) for column in _COLUMNS)
    when = datetime.fromtimestamp(history.times[last], UTC)
    return (str(revision.number), *cells, show_time(when))


def _cell(column: _Column, value: float | None) -> str:
    return "-" if value is None else column.show(value)
