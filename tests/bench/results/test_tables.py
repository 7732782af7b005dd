"""The tables in the terminal."""

import re

import pytest
from rich.console import Console

from headrace.bench.figures.distribution import distribution_of
from headrace.bench.figures.goodput import GoodputLimits
from headrace.bench.figures.offline_figures import EngineInfo, offline_figures
from headrace.bench.figures.pairing import PairedRatio
from headrace.bench.figures.run_figures import figures_of
from headrace.bench.figures.sweep_curve import SweepPoint, curve_of
from headrace.bench.http.server_info import ServerInfo
from headrace.bench.memory.memory_watch import MemoryUse
from headrace.bench.records import ClientHealth, Failure, RequestRecord
from headrace.bench.results.result_file import RunResult
from headrace.bench.results.tables import (
    FieldList,
    TextTable,
    comparison_table,
    format_bytes,
    offline_table,
    run_tables,
    sweep_table,
)
from headrace.cli.bench.output import to_renderable


def shown(*tables: FieldList | TextTable) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        for table in tables:
            console.print(to_renderable(table))
    return capture.get()


def run(**changes: object) -> RunResult:
    records = [
        RequestRecord(
            index=0,
            sent_s=0.0,
            first_token_s=0.25,
            ended_s=1.25,
            chunk_times_s=[0.25, 1.25],
            num_prompt_tokens=1000,
            num_output_tokens=5,
            num_counted_tokens=6,
            status=200,
        ),
        RequestRecord(index=1, sent_s=0.0, ended_s=0.1, failure=Failure.TIMEOUT, error="late"),
    ]
    values: dict[str, object] = {
        "target": "server",
        "base_url": "http://h:1",
        "server": ServerInfo("[bold]m"),
        "setting": {},
        "figures": figures_of(records, 2.0, GoodputLimits(ttft=0.5, itl=0.05)),
        "client": ClientHealth(0.25, 0.001, 0.0),
        **changes,
    }
    return RunResult(**values)  # type: ignore[arg-type]


def test_the_table_of_a_run() -> None:
    text = shown(*run_tables(run(memory=MemoryUse(3 * 2**30, 2**20, "devices", [1]))))
    assert "[bold]m at http://h:1" in text  # not read as markup
    assert "1 answered, 1 failed" in text
    assert "1 timeout" in text
    assert "1,000, 5" in text
    assert "the tokenizer finds +20.00%; 2.50 tokens a chunk" in text
    assert "0 requests/s; 0.0% of all requests were within ttft 500 ms, itl 50 ms" in text
    assert "3.00 GiB peak" in text
    assert "1 MiB peak (total of all devices)" in text
    assert "25% of a core" in text
    tpot = next(line for line in text.splitlines() if line.startswith("TPOT, ms"))
    assert tpot.split()[2] == "250.0"
    assert "CLIENT-BOUND" not in text


def test_rejected_usage_is_noted() -> None:
    record = RequestRecord(index=0, sent_s=0.0, ended_s=1.0, usage_error="completion_tokens is -5")
    text = shown(*run_tables(run(figures=figures_of([record], 1.0))))
    assert "the usage of 1 requests was rejected (completion_tokens is -5)" in text
    assert "1 requests not counted" in text


def test_a_client_bound_run_is_noted() -> None:
    text = shown(*run_tables(run(client_bound="The client slept.")))
    assert re.search(r"^CLIENT-BOUND +The client slept\.", text, re.MULTILINE)


def test_an_interrupted_run_states_what_is_missing() -> None:
    setting = {"num_planned": 10}
    early = run(is_interrupted=True, problem="Gone: [bold]", setting=setting)
    text = shown(*run_tables(early))
    assert re.search(r"^PROBLEM +Gone: \[bold\]", text, re.MULTILINE)
    assert re.search(r"^INTERRUPTED +8 more were planned", text, re.MULTILINE)
    assert "INTERRUPTED" not in shown(*run_tables(run(setting=setting)))


def test_the_clients_queue_time_is_shown() -> None:
    late = RequestRecord(index=0, sent_s=1.5, ended_s=2.0, status=200, due_s=1.0)
    prompt = RequestRecord(index=0, sent_s=1.01, ended_s=2.0, status=200, due_s=1.0)
    waited = next(
        line
        for line in shown(*run_tables(run(figures=figures_of([late], 1.0)))).splitlines()
        if line.startswith("waited, ms")
    )
    assert waited.split()[2] == "500.0"
    assert "waited" not in shown(*run_tables(run(figures=figures_of([prompt], 1.0))))


def test_a_sweep_marks_its_knee() -> None:
    points = [SweepPoint(x, y, 0) for x, y in ((1, 10), (2, 20), (4, 40), (8, 41))]
    text = shown(sweep_table(curve_of("concurrency", "output_tokens_per_s", points), [run()]))
    assert [line.split()[0] for line in text.splitlines() if "knee" in line] == ["4"]


@pytest.mark.parametrize(
    ("median", "low", "high", "is_higher_better", "verdict"),
    [
        (1.2, 1.1, 1.3, False, "worse"),
        (1.2, 1.1, 1.3, True, "better"),
        (0.8, 0.7, 0.9, False, "better"),
        (0.8, 0.7, 0.9, True, "worse"),
        (1.2, 0.9, 1.3, True, "no clear difference"),
        (1.2, None, None, True, "too few rounds"),
    ],
)
def test_verdicts(
    median: float, low: float | None, high: float | None, is_higher_better: bool, verdict: str
) -> None:
    ratio = PairedRatio(
        "ttft_s_p50", "b", "a", is_higher_better, median, median, median, low, high, [median]
    )
    line = shown(comparison_table([ratio])).splitlines()[1]
    assert line.startswith("TTFT, median")
    assert verdict in line


def test_offline_figures_describe_the_median_batch() -> None:
    figures = offline_figures(
        "latency",
        EngineInfo("m", "bfloat16", 64, {}),
        num_prompts=4,
        input_len=6,
        output_len=10,
        batches_s=[1.0, 2.0, 9.0],
        memory=None,
    )
    assert figures.batch_s == distribution_of([1.0, 2.0, 9.0])
    assert (figures.requests_per_s, figures.output_tokens_per_s) == (2.0, 20.0)
    assert (figures.total_tokens_per_s, figures.time_per_token_s) == (32.0, 0.2)
    text = shown(offline_table(figures))
    assert "m, bfloat16" in text
    assert "2.000 s median of 3 (1.000 to 9.000" in text


def test_one_batch_has_no_spread() -> None:
    sizes = {"num_prompts": 4, "input_len": 6, "output_len": 10}
    engine = EngineInfo("m", "bfloat16", 64, {})
    figures = offline_figures("throughput", engine, **sizes, batches_s=[2.0], memory=None)
    text = shown(offline_table(figures))
    assert "2.000 s, measured once" in text
    assert "p99" not in text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(5, "5 B"), (2048, "2 KiB"), (300 * 2**20, "300 MiB"), (5 * 2**30, "5.00 GiB")],
)
def test_sizes(num_bytes: int, text: str) -> None:
    assert format_bytes(num_bytes) == text
