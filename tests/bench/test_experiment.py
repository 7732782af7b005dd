"""Series and rounds of an experiment, against a server that records requests."""

import csv
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headrace.bench import experiment
from headrace.bench.errors import BenchError, ClientBoundError, OptionError, ServerError
from headrace.bench.experiment import ExperimentPlan, choose_parallels, run_experiment
from headrace.bench.figures.series_summary import summarize
from headrace.bench.http.server_info import ServerInfo
from headrace.bench.measurement import MeasurementOptions, measure
from headrace.bench.records import BenchTarget, PlannedRequest
from headrace.bench.results.experiment_csv import REQUEST_COLUMNS, SUMMARY_COLUMNS, write_requests
from headrace.bench.results.experiment_files import (
    KIND,
    Series,
    SeriesFiles,
    files_of,
    read_summaries,
    write_folder_summary,
)
from headrace.bench.results.measured_run import EndedEarlyError, InterruptedRunError, MeasuredRun
from headrace.bench.results.result_file import new_result, write_result

LOOKING = MeasurementOptions(allow_client_bound=True, watches_memory=False)
NUM_TOKENS = 5


class NotingServer(ThreadingHTTPServer):
    """Completes every request at once with five tokens, and records the bodies."""

    daemon_threads = True

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: NotingServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        reply = {
            "choices": [{"index": 0, "text": "five tokens", "finish_reason": "length"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": NUM_TOKENS, "total_tokens": 8},
        }
        response = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(response)))
        self.end_headers()
        self.wfile.write(response)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def server() -> Iterator[NotingServer]:
    with NotingServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def plan(**changes: Any) -> ExperimentPlan:
    values: dict[str, Any] = {
        "task": "qa",
        "mode": "sync",
        "workload": [PlannedRequest(max_tokens=8, prompt=f"Question {n}?") for n in range(3)],
        "endpoint": "completions",
        "parallels": [1, 2],
        "num_rounds": 2,
        "num_warm_ups": 1,
        **changes,
    }
    return ExperimentPlan(**values)


def run(server: NotingServer, **changes: Any) -> list[Series]:
    target = BenchTarget("noted", f"http://127.0.0.1:{server.server_port}", "some/model")
    outcome = run_experiment(target, plan(**changes), LOOKING, ServerInfo("some/model"))
    assert outcome.ended_by is None
    return outcome.series


def test_every_round_sends_all_prompts_and_only_the_first_warms_up(server: NotingServer) -> None:
    latency, throughput = run(server)
    assert (latency.parallel, throughput.parallel) == (1, 2)
    assert [run.setting["round"] for run in latency.runs] == [0, 1]
    assert [run.figures.num_successful for run in latency.runs + throughput.runs] == [3] * 4
    assert len(server.bodies) == 2 * (1 + 2 * 3)
    assert latency.runs[0].figures.peak_concurrency == 1
    assert {body["temperature"] for body in server.bodies} == {0.0}


def write_series(folder: Path, series: Series) -> SeriesFiles:
    files = files_of(folder, series)
    write_result(files.result, new_result(KIND, ["headrace"], None, runs=series.runs))
    write_requests(files.requests, series.runs)
    return files


def break_off_in_round(number: int, error: BaseException) -> Callable[..., MeasuredRun]:
    """``measure``, but that run of all, counted from 0, ends in this way."""
    runs = itertools.count()

    def measure_or_break(*arguments: Any) -> MeasuredRun:
        if next(runs) == number:
            raise error
        return measure(*arguments)

    return measure_or_break


@pytest.mark.parametrize(
    "error",
    [ClientBoundError("Too slow."), ServerError("Gone."), KeyboardInterrupt(), TypeError("odd")],
)
def test_results_before_a_failure_are_preserved(
    server: NotingServer, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    target = BenchTarget("noted", f"http://127.0.0.1:{server.server_port}", "some/model")
    info = ServerInfo("some/model")
    monkeypatch.setattr(experiment, "measure", break_off_in_round(3, error))
    outcome = run_experiment(target, plan(), LOOKING, info)
    assert [len(each.runs) for each in outcome.series] == [2, 1]
    assert isinstance(outcome.ended_by, BenchError)
    assert isinstance(outcome.ended_by, InterruptedRunError) == (type(error) is KeyboardInterrupt)

    early = MeasuredRun(replace(outcome.series[0].runs[0], is_interrupted=True), [])
    ended = EndedEarlyError("Ended.", early)
    monkeypatch.setattr(experiment, "measure", break_off_in_round(1, ended))
    outcome = run_experiment(target, plan(), LOOKING, info)
    assert [run.is_interrupted for run in outcome.series[0].runs] == [False, True]
    assert summarize(outcome.series[0].runs).num_rounds == 1

    monkeypatch.setattr(experiment, "measure", break_off_in_round(0, error))
    with pytest.raises(type(error)):
        run_experiment(target, plan(), LOOKING, info)


def test_each_round_has_a_unique_salt(server: NotingServer) -> None:
    run(server)
    run(server, parallels=[1])
    salts = [body["cache_salt"] for body in server.bodies]
    assert len(set(salts)) == 6


def test_salts_can_be_omitted_and_fields_added(server: NotingServer) -> None:
    run(server, salts_cache=False, extra_body={"top_k": 1, "temperature": 0.5})
    assert all("cache_salt" not in body for body in server.bodies)
    assert {(body["top_k"], body["temperature"]) for body in server.bodies} == {(1, 0.5)}


def test_a_summary_pools_the_rounds(server: NotingServer) -> None:
    series = run(server, parallels=[2])[0]
    summary = summarize(series.runs)
    assert (summary.server, summary.task, summary.parallel) == ("noted", "qa", 2)
    assert summary.num_requests == 6
    assert summary.latency_s is not None
    assert summary.latency_s.num == 6
    assert summary.p2ft_s is None
    assert summary.output_tokens_mean == NUM_TOKENS
    assert summary.requests_per_s.num == 2


def test_files_are_named_by_series_and_summarized(server: NotingServer, tmp_path: Path) -> None:
    for series in run(server):
        files = write_series(tmp_path, series)
        with files.requests.open() as stream:
            rows = list(csv.DictReader(stream))
        assert tuple(rows[0]) == REQUEST_COLUMNS
        assert len(rows) == 6
        assert float(rows[0]["total_latency_s"]) > 0
        assert rows[0]["p2ft_s"] == ""
        assert float(rows[0]["token_generation_speed_tok_per_s"]) == pytest.approx(
            NUM_TOKENS / float(rows[0]["total_latency_s"]), rel=0.01
        )
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        f"noted_some-model_qa_sync_p{parallel}.{kind}"
        for parallel in (1, 2)
        for kind in ("json", "csv")
    }
    with write_folder_summary(tmp_path).open() as stream:
        summary = list(csv.DictReader(stream))
    assert tuple(summary[0]) == SUMMARY_COLUMNS
    assert [row["parallel"] for row in summary] == ["1", "2"]


def test_the_summary_preserves_other_servers(server: NotingServer, tmp_path: Path) -> None:
    first = run(server, parallels=[1])[0]
    other = replace(first, runs=[replace(each, target="other") for each in first.runs])
    (tmp_path / "notes.json").write_text("{}")
    for series in (first, other, first):
        write_series(tmp_path, series)
    assert [summary.server for summary in read_summaries(tmp_path)] == ["noted", "other"]


def test_latency_is_first_unless_only_throughput_is_requested() -> None:
    assert choose_parallels(None, throughput_only=False) == [1]
    assert choose_parallels(4, throughput_only=False) == [1, 4]
    assert choose_parallels(4, throughput_only=True) == [4]
    assert choose_parallels(None, throughput_only=True) == [8]


@pytest.mark.parametrize("changes", [{"num_rounds": 0}, {"parallels": [0]}, {"temperature": -1.0}])
def test_invalid_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        plan(**changes)
