"""The report of a load test."""

import re

from headrace.bench.figures.run_figures import figures_of
from headrace.bench.records import Failure, RequestRecord
from headrace.bench.results.load_report import BAR_WIDTH, NUM_BARS, load_report


def record(latency_s: float, **more: object) -> RequestRecord:
    made = RequestRecord(index=0, sent_s=0.0, ended_s=latency_s, num_output_tokens=8, status=200)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def report(records: list[RequestRecord]) -> str:
    return load_report(figures_of(records, duration_s=2.0), records)


def test_the_whole_report() -> None:
    text = report([record(0.1 * i) for i in range(1, 12)])
    assert "Requests/sec: 5.5000" in text
    assert "Slowest:      1.1000 secs" in text
    assert "50% in 0.6000 secs" in text
    assert "99% in 1.0900 secs" in text
    assert "[200] 11 responses" in text
    assert "Error" not in text


def test_every_response_is_in_the_histogram_once() -> None:
    text = report([record(1.0), record(1.1), *[record(2.0)] * 20])
    bars = re.findall(r"^  [\d.]+ \[(\d+)\] +\|(■*)$", text, re.MULTILINE)
    assert len(bars) == NUM_BARS
    assert sum(int(count) for count, _ in bars) == 22
    assert len(bars[-1][1]) == BAR_WIDTH


def test_histogram_edges_are_distinct() -> None:
    text = report([record(0.5 + i * 1e-5) for i in range(20)])
    edges = re.findall(r"^  ([\d.]+) \[", text, re.MULTILINE)
    assert len(set(edges)) == NUM_BARS


def test_equal_latencies_have_one_bin() -> None:
    assert f"  0.500 [3] |{'■' * BAR_WIDTH}" in report([record(0.5)] * 3)


def test_failures_are_grouped_by_status_and_error() -> None:
    lost = record(0.0, status=None, failure=Failure.CONNECT, error="refused")
    busy = record(0.1, status=503, failure=Failure.HTTP_STATUS, error="busy")
    text = report([record(0.5), lost, lost, busy])
    assert "[200] 1 responses" in text
    assert "[503] 1 responses" in text
    assert "[2] connect: refused" in text
    assert "[1] http_status: busy" in text


def test_data_sizes_and_latency_phases() -> None:
    parts = {"num_bytes": 100, "connect_s": 0.1, "head_s": 0.3}
    later = {"num_bytes": 300, "connect_s": 0.0, "head_s": 0.4}
    lost = record(0.1, num_bytes=9, failure=Failure.CUT, error="cut")
    text = report([record(0.5, **parts), record(0.7, **later), lost])
    assert "Total data:   400 bytes" in text
    assert "Size/request: 200 bytes" in text
    assert "connecting: 0.0500 secs, 0.0000 secs, 0.1000 secs" in text
    assert "waiting:    0.3000 secs, 0.2000 secs, 0.4000 secs" in text
    assert "reading:    0.2500 secs, 0.2000 secs, 0.3000 secs" in text


def test_a_report_of_failures_only() -> None:
    text = report([record(0.0, status=None, failure=Failure.CONNECT, error="refused")])
    assert "histogram" not in text
    assert "Requests/sec: 0.0000" in text


def test_an_error_with_brackets_is_shown_literally() -> None:
    text = report([record(0.0, failure=Failure.CUT, error="[Errno 104] reset")])
    assert "[1] cut: [Errno 104] reset" in text
