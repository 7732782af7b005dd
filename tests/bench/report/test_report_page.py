"""The page of results of every kind: its contents, and that it is self-contained."""

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.dom.minidom import parseString

import pytest

from headrace.bench.errors import ResultFileError
from headrace.bench.figures.pairing import paired_ratios
from headrace.bench.figures.run_figures import figures_of
from headrace.bench.figures.sweep_curve import SweepPoint, curve_of
from headrace.bench.http.server_info import ServerInfo
from headrace.bench.memory.memory_watch import MemorySample, MemoryUse
from headrace.bench.records import ClientHealth, Failure, RequestRecord
from headrace.bench.report.charts.style import INK
from headrace.bench.report.collection import collect
from headrace.bench.report.elements import Table
from headrace.bench.report.page import Report, build, render, write_pngs
from headrace.bench.report.units import NOTHING
from headrace.bench.results.result_file import BenchResult, RunResult, new_result, write_result

NOW = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)


def make_run(
    server: str = "headrace",
    *,
    num_requests: int = 6,
    latency_s: float = 0.4,
    num_failed: int = 0,
    is_streamed: bool = True,
    client_bound: str | None = None,
    **setting: object,
) -> RunResult:
    records = [
        RequestRecord(
            index=index,
            sent_s=index * latency_s,
            first_token_s=index * latency_s + latency_s / 4 if is_streamed else None,
            ended_s=(index + 1 + 0.1 * (index % 3)) * latency_s,
            num_prompt_tokens=10,
            num_output_tokens=8,
            status=200,
            failure=Failure.CUT if index < num_failed else None,
        )
        for index in range(num_requests)
    ]
    duration_s = records[-1].ended_s
    samples = [MemorySample(at_s=0.1 * n, host_bytes=10**9, gpu_bytes=None) for n in range(5)]
    return RunResult(
        target=server,
        base_url="http://127.0.0.1:8000",
        server=ServerInfo("some/model"),
        setting={"arrivals": "closed loop", "concurrency": 1, **setting},
        figures=figures_of(records, duration_s),
        client=ClientHealth(0.1, 0.001, 0.0),
        client_bound=client_bound,
        memory=MemoryUse(10**9, None, None, [1], samples),
        records=records,
    )


def experiment(server: str, task: str, mode: str, parallel: int, latency_s: float) -> BenchResult:
    runs = [
        make_run(
            server,
            latency_s=latency_s,
            is_streamed=mode == "stream",
            task=task,
            mode=mode,
            parallel=parallel,
            round=number,
        )
        for number in range(2)
    ]
    return new_result("experiment", ["headrace"], None, runs=runs)


def write_everything(folder: Path) -> None:
    for server, latency_s in (("headrace", 0.2), ("baseline", 0.9)):
        for task in ("chat", "qa"):
            for mode, parallel in (("sync", 1), ("stream", 1), ("stream", 4)):
                result = experiment(server, task, mode, parallel, latency_s)
                write_result(folder / f"{server}-{task}-{mode}-{parallel}.json", result)
    write_result(folder / "serve.json", new_result("serve", ["headrace"], 0, runs=[make_run()]))
    runs = [make_run(latency_s=0.4 / load, load=load) for load in (1, 2, 4)]
    points = [
        SweepPoint(load, run.figures.output_tokens_per_s, index)
        for index, (load, run) in enumerate(zip((1, 2, 4), runs, strict=True))
    ]
    curve = curve_of("concurrency", "output_tokens_per_s", points)
    write_result(folder / "sweep.json", new_result("sweep", [], 0, runs=runs, sweep=curve))
    rounds = [
        {"a": make_run("a").figures, "b": make_run("b", latency_s=0.6 + 0.01 * n).figures}
        for n in range(7)
    ]
    compared = new_result("compare", [], 0, comparison=paired_ratios(rounds))
    write_result(folder / "compare.json", compared)


def report_of(folder: Path) -> Report:
    return build(collect([folder]), "What was measured")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("results")
    write_everything(folder)
    return report_of(folder)


@pytest.fixture(scope="module")
def html(full: Report) -> str:
    return render(full, NOW)


def test_every_kind_of_result_has_its_chart(full: Report) -> None:
    assert {chart.name for chart in full.charts} == {
        *(f"experiment-1-{name}" for name in ("latency", "ttft", "throughput", "spread")),
        *("experiment-1-peak-memory", "experiment-1-memory-over-time"),
        *("compare-1-comparison", "sweep-1-sweep", "runs", "run-1-run"),
    }
    assert all(chart.meaning for chart in full.charts if chart.figure is not None)


def test_bars_begin_at_zero_and_axes_have_labels(full: Report) -> None:
    for chart in full.charts:
        for axes in chart.figure.axes if chart.figure is not None else ():
            if not axes.axison:
                continue
            assert axes.get_xlabel() or axes.get_ylabel(), chart.name
            if axes.patches:
                assert axes.get_ylim()[0] == 0, chart.name


def test_the_page_is_self_contained(html: str) -> None:
    assert not re.search(r"<script|<link|<img|@import|src=", html)
    assert "What was measured" in html
    assert "2030-01-02 03:04" in html


def test_charts_are_valid_and_share_no_ids(full: Report, html: str) -> None:
    svgs = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(svgs) == len([p for p in full.charts if p.figure is not None])
    for svg in svgs:
        parseString(svg)
    ids = Counter(re.findall(r'\bid="([^"]+)"', html))
    assert max(ids.values()) == 1
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', html)) <= set(ids)


def test_text_colours_follow_the_colour_scheme(html: str) -> None:
    charts = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    assert INK not in charts
    assert "currentColor" in charts
    assert "prefers-color-scheme: dark" in html


def test_the_page_is_deterministic(tmp_path: Path) -> None:
    write_result(tmp_path / "one.json", experiment("headrace", "chat", "stream", 1, 0.2))
    assert render(report_of(tmp_path), NOW) == render(report_of(tmp_path), NOW)


def test_the_text_states_how_servers_differ(full: Report) -> None:
    latency = next(p for p in full.charts if p.name == "experiment-1-latency")
    assert any("baseline takes 4.50 times as long as headrace" in text for text in latency.meaning)


def test_pngs(full: Report, tmp_path: Path) -> None:
    paths = write_pngs(full, tmp_path / "png")
    assert {path.stem for path in paths} == {p.name for p in full.charts if p.figure is not None}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_names_are_escaped(tmp_path: Path) -> None:
    nasty = "<script>alert('1')</script>"
    write_result(tmp_path / "one.json", experiment(nasty, "chat", "stream", 1, 0.2))
    page = render(report_of(tmp_path), NOW)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_caveats_come_first(tmp_path: Path) -> None:
    bound = make_run(client_bound="The client used 99% of its core.", num_failed=2)
    write_result(tmp_path / "serve.json", new_result("serve", [], 0, runs=[bound]))
    (tmp_path / "notes.json").write_text('{"a": 1}')
    report = report_of(tmp_path)
    assert len(report.caveats) == 3
    page = render(report, NOW)
    assert page.index("used 99% of its core") < page.index("<main>")
    assert "2 of 6 requests failed" in page
    assert "notes.json was left out" in page


def test_an_interrupted_run_is_a_caveat(tmp_path: Path) -> None:
    run = replace(make_run(), is_interrupted=True, problem="MemoryError")
    write_result(tmp_path / "serve.json", new_result("serve", [], 0, runs=[run]))
    caveats = report_of(tmp_path).caveats
    assert any("interrupted" in caveat for caveat in caveats)
    assert any("MemoryError" in caveat for caveat in caveats)


def test_rejected_usage_is_a_caveat(tmp_path: Path) -> None:
    record = RequestRecord(index=0, sent_s=0.0, ended_s=1.0, usage_error="completion_tokens is -5")
    run = replace(make_run(), figures=figures_of([record], 1.0))
    write_result(tmp_path / "serve.json", new_result("serve", [], 0, runs=[run]))
    assert any("completion_tokens is -5" in caveat for caveat in report_of(tmp_path).caveats)


def test_few_rounds_are_not_significant(tmp_path: Path) -> None:
    figures = {"a": make_run("a").figures, "b": make_run("b", latency_s=0.8).figures}
    result = new_result("compare", [], 0, comparison=paired_ratios([figures] * 2))
    write_result(tmp_path / "compare.json", result)
    (chart,) = report_of(tmp_path).charts
    said = " ".join(chart.meaning)
    assert "too few rounds to tell" in said
    assert "different" not in said


def test_concurrency_ticks_are_integers(full: Report) -> None:
    sweep = next(chart for chart in full.charts if chart.name == "sweep-1-sweep")
    assert sweep.figure is not None
    for axes in sweep.figure.axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_numeric_columns_are_detected() -> None:
    rows = [["one", "1,200", "0.5", NOTHING, "2 (knee)"], ["two", "3", "12.0", "7", "3"]]
    table = Table(["name", "a", "b", "c", "d"], rows)
    assert table.is_number == [False, True, True, True, False]


def test_charts_fit_narrow_pages_and_print(html: str) -> None:
    for widths in re.findall(r'<svg[^>]* style="max-width:(\d+)px;min-width:(\d+)px"', html):
        most, least = map(int, widths)
        assert 0.6 * most < least < 0.7 * most
    assert len(re.findall(r"<svg[^>]*min-width", html)) == html.count("<svg")
    paper = html[html.index("@media print") :]
    assert "min-width: 0 !important" in paper
    assert "break-after: avoid" in paper


def test_a_run_without_responses_has_no_chart(tmp_path: Path) -> None:
    failed = make_run(num_failed=6)
    write_result(tmp_path / "serve.json", new_result("serve", [], 0, runs=[failed]))
    assert [chart.name for chart in report_of(tmp_path).charts] == ["runs"]


def test_a_failed_experiment_has_a_page(tmp_path: Path) -> None:
    runs = [make_run(num_failed=6, task="chat", mode="stream", parallel=1, round=0)]
    write_result(tmp_path / "one.json", new_result("experiment", [], None, runs=runs))
    assert "6 of 6 requests failed" in render(report_of(tmp_path), NOW)


def test_a_folder_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ResultFileError, match="There is no result"):
        collect([tmp_path])
    (tmp_path / "later.json").write_text('{"schema": "headrace.bench/9"}')
    with pytest.raises(ResultFileError, match="has the format headrace"):
        collect([tmp_path])
