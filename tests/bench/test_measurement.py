"""A measured run from end to end, against the mock server in a process of its own."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

import pytest

from headrace.bench import measurement
from headrace.bench.compare import parse_targets, run_comparison
from headrace.bench.errors import BenchError, ClientBoundError, OptionError, ServerError
from headrace.bench.figures.goodput import GoodputLimits
from headrace.bench.http.response_reader import ResponseReader
from headrace.bench.load.arrivals import ClosedLoop, RatedArrivals, TraceArrivals
from headrace.bench.load.load_generator import Progress
from headrace.bench.measurement import MeasurementOptions, RunPlan, describe_arrivals, measure
from headrace.bench.memory.memory_watch import MemoryWatch
from headrace.bench.records import BenchTarget, PlannedRequest, RequestRecord
from headrace.bench.results.measured_run import EndedEarlyError, InterruptedRunError, MeasuredRun
from headrace.bench.results.result_file import new_result, to_json
from headrace.bench.sweep import run_sweep
from headrace.testing.processes.server_process import ServerProcess

NUM_TOKENS = 8
LOOKING = MeasurementOptions(allow_client_bound=True)  # a busy machine shall not fail these tests


@pytest.fixture(scope="module")
def target() -> Iterator[BenchTarget]:
    command = (sys.executable, "-m", "headrace.testing.servers.mock_server")
    pace = ("--tokens-per-s", "400", "--first-token-s", "0.02")
    with ServerProcess(*pace, command=command) as server:
        yield BenchTarget("server", server.url, "mock")


def plan(num_requests: int = 6, **more: object) -> RunPlan:
    return RunPlan(
        workload=[
            PlannedRequest(max_tokens=NUM_TOKENS, prompt=f"this is prompt {index}")
            for index in range(num_requests)
        ],
        arrivals=ClosedLoop(2),
        **more,  # type: ignore[arg-type]
    )


def test_a_run_end_to_end(target: BenchTarget) -> None:
    seen: list[Progress] = []
    measured = measure(target, plan(num_warm_ups=1), LOOKING, seen.append)
    run = measured.run
    assert run.figures.num_successful == 6
    assert run.figures.num_output_tokens == 6 * NUM_TOKENS
    assert run.figures.tokens.num_chunks == 6 * NUM_TOKENS
    assert run.figures.peak_concurrency == 2
    assert run.figures.ttft_s is not None
    assert run.figures.ttft_s.min >= 0.015  # 20 ms, by a timer of whole milliseconds
    assert run.setting["arrivals"] == "closed loop"
    assert run.setting["concurrency"] == 2
    assert run.server.card["id"] == "mock"
    assert run.records is None
    assert len(measured.records) == 6
    assert seen[-1].num_ended == 6


def test_server_memory_is_sampled_on_the_runs_clock(target: BenchTarget) -> None:
    memory = measure(target, plan(), LOOKING).run.memory
    assert memory is not None
    assert memory.host_peak_bytes is not None
    assert memory.host_peak_bytes > 2**20
    assert memory.samples[0].at_s < memory.samples[-1].at_s
    unwatched = MeasurementOptions(allow_client_bound=True, watches_memory=False)
    assert measure(target, plan(), unwatched).run.memory is None


def test_a_client_bound_run_fails_unless_allowed(target: BenchTarget) -> None:
    def dawdle(_: Progress) -> None:
        time.sleep(0.2)  # on the event loop: everything after it is late

    with pytest.raises(ClientBoundError, match="--allow-client-bound"):
        measure(target, plan(30), MeasurementOptions(), dawdle)
    marked = measure(target, plan(30), LOOKING, dawdle).run
    assert marked.client_bound is not None


def test_records_and_texts_are_stored_on_request(target: BenchTarget) -> None:
    kept = measure(
        target, plan(), MeasurementOptions(allow_client_bound=True, keeps_records=True)
    ).run
    assert kept.records is not None
    assert [record.text for record in kept.records] == [""] * 6
    options = MeasurementOptions(allow_client_bound=True, keeps_records=True, keeps_text=True)
    kept = measure(target, plan(), options).run
    assert kept.records is not None
    assert all(record.text for record in kept.records)


def test_tokens_are_counted_with_a_tokenizer_too(target: BenchTarget) -> None:
    def count(records: object) -> None:
        assert isinstance(records, list)
        for record in records:
            assert isinstance(record, RequestRecord)
            record.num_counted_tokens = len(record.text.split()) // 2

    tokens = measure(
        target, plan(), MeasurementOptions(allow_client_bound=True, count_tokens=count)
    ).run.figures.tokens
    assert tokens.by_usage == 6 * NUM_TOKENS
    assert tokens.tokenizer_to_usage == pytest.approx(0.5, abs=0.1)


def test_goodput_is_computed_from_limits(target: BenchTarget) -> None:
    options = MeasurementOptions(allow_client_bound=True, limits=GoodputLimits(ttft=0.001))
    goodput = measure(target, plan(), options).run.figures.goodput
    assert goodput is not None
    assert goodput.num_good == 0


def test_a_run_without_streaming(target: BenchTarget) -> None:
    figures = measure(target, plan(is_streamed=False), LOOKING).run.figures
    assert figures.num_output_tokens == 6 * NUM_TOKENS
    assert figures.ttft_s is None
    assert figures.generation_tokens_per_s is not None


def test_a_refused_connection_is_an_error() -> None:
    no_client = BenchTarget("server", "http://127.0.0.1:1", "m")
    with pytest.raises(ServerError, match="warm-up"):
        measure(no_client, plan(num_warm_ups=1), LOOKING)


def test_arrivals_from_a_trace_file() -> None:
    assert describe_arrivals(RatedArrivals(float("inf"))) == {
        "arrivals": "rate",
        "request_rate": "inf",
        "burstiness": 1.0,
    }
    assert describe_arrivals(TraceArrivals(5)) == {"arrivals": "trace", "max_concurrency": 5}


def test_a_sweep_stops_at_saturation(target: BenchTarget) -> None:
    """Simulated by equal runs for each load."""
    measured = measure(target, plan(), LOOKING)
    outcome = run_sweep(
        "concurrency", [4, 1, 2, 64, 128], lambda index, load: measured, stops_when_saturated=True
    )
    assert outcome.skipped == [4, 64, 128]
    assert outcome.curve.is_saturated
    assert outcome.stopped_because is not None
    assert len(outcome.measured) == 2
    assert outcome.curve.throughput == "output_tokens_per_s"


@pytest.mark.parametrize(
    ("attribute", "num_records"), [("figures_of", 6), ("describe_arrivals", 6), ("_for_file", 6)]
)
def test_records_survive_an_error_in_their_figures(
    target: BenchTarget, monkeypatch: pytest.MonkeyPatch, attribute: str, num_records: int
) -> None:
    monkeypatch.setattr(measurement, attribute, fail)
    with pytest.raises(EndedEarlyError, match="no memory") as caught:
        measure(target, plan(), replace(LOOKING, keeps_records=True))
    assert caught.value.measured is not None
    run = caught.value.measured.run
    assert run.records is not None
    assert len(run.records) == num_records
    assert (run.is_interrupted, run.problem) == (False, "MemoryError: no memory")
    assert run.figures.num_successful == num_records
    assert json.loads(to_json(new_result("serve", [], 0, runs=[run])))


@pytest.mark.parametrize("error", [RuntimeError("odd"), KeyboardInterrupt()])
def test_figures_survive_an_error_in_token_counts(
    target: BenchTarget, error: BaseException
) -> None:
    def count(records: object) -> None:
        raise error

    with pytest.raises(EndedEarlyError) as caught:
        measure(target, plan(), replace(LOOKING, count_tokens=count))
    assert caught.value.measured is not None
    assert caught.value.measured.run.figures.num_output_tokens == 6 * NUM_TOKENS
    assert isinstance(caught.value, InterruptedRunError) == isinstance(error, KeyboardInterrupt)


def test_figures_survive_an_error_in_memory_sampling(
    target: BenchTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryWatch, "use", fail)
    with pytest.raises(EndedEarlyError) as caught:
        measure(target, plan(), LOOKING)
    assert caught.value.measured is not None
    assert caught.value.measured.run.figures.num_successful == 6
    assert caught.value.measured.run.memory is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("odd")])
def test_records_survive_an_error_in_reading_a_response(
    target: BenchTarget, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    finish, num_left = ResponseReader.finish, iter(range(3, -1, -1))

    def fail_the_fourth(reader: ResponseReader, now_s: float) -> None:
        if next(num_left) == 0:
            raise error
        finish(reader, now_s)

    monkeypatch.setattr(ResponseReader, "finish", fail_the_fourth)
    with pytest.raises(EndedEarlyError) as caught:
        measure(target, plan(), LOOKING)
    assert caught.value.measured is not None
    run = caught.value.measured.run
    assert (run.figures.num_successful, run.is_interrupted) == (3, True)
    assert isinstance(caught.value, InterruptedRunError) == isinstance(error, KeyboardInterrupt)


def fail(*arguments: object, **options: object) -> NoReturn:
    raise MemoryError("no memory")


def test_an_unexpected_error_has_a_traceback_without_the_key(target: BenchTarget) -> None:
    def count(records: object) -> None:
        raise RuntimeError("sk-0123456789")

    keyed = replace(target, api_key="sk-0123456789")
    with pytest.raises(EndedEarlyError) as caught:
        measure(keyed, plan(), replace(LOOKING, count_tokens=count))
    assert str(caught.value) == "RuntimeError: ***"
    assert caught.value.traceback is not None
    assert "in count" in caught.value.traceback
    assert "sk-0123456789" not in caught.value.traceback


def test_a_sweep_preserves_runs_before_a_client_bound_one(target: BenchTarget) -> None:
    def measure_load(index: int, load: float) -> MeasuredRun:
        if load > 2:
            raise ClientBoundError("Too slow.")
        return measure(target, plan(), LOOKING)

    outcome = run_sweep("request_rate", [1, 2, 4, 8], measure_load, stops_when_saturated=False)
    assert isinstance(outcome.ended_by, ClientBoundError)
    assert [point.load for point in outcome.curve.points] == [1, 2]
    assert outcome.skipped == [4, 8]
    with pytest.raises(ClientBoundError):
        run_sweep("request_rate", [4, 8], measure_load, stops_when_saturated=False)


def test_a_sweep_preserves_runs_before_the_server_exited(target: BenchTarget) -> None:
    ends = {
        2: ServerError("No warm-up request was answered."),
        4: KeyboardInterrupt(),
        5: ZeroDivisionError(),
    }

    def measure_load(index: int, load: float) -> MeasuredRun:
        if load in broken:
            raise ends[int(load)]
        return measure(target, plan(2), LOOKING)

    for broken in ([2.0], [4.0], [5.0]):
        loads = [1.0, 2.0, 4.0, 5.0]
        outcome = run_sweep("concurrency", loads, measure_load, stops_when_saturated=False)
        assert outcome.skipped[0] == broken[0]
        assert (
            len(outcome.measured) == len(outcome.curve.points) == len(loads) - len(outcome.skipped)
        )
        assert isinstance(outcome.ended_by, BenchError)


@pytest.mark.parametrize("num_whole", [0, 1])
def test_a_series_includes_an_interrupted_run(target: BenchTarget, num_whole: int) -> None:
    """In its runs, but in no curve and no ratio."""
    whole = measure(target, plan(2), LOOKING)
    early = MeasuredRun(replace(whole.run, is_interrupted=True), whole.records)

    def measure_one(index: int, _: object) -> MeasuredRun:
        if index == num_whole:
            raise InterruptedRunError("Interrupted.", early)
        return whole

    swept = run_sweep("concurrency", [1, 2, 4], measure_one, stops_when_saturated=False)
    assert [each.run.is_interrupted for each in swept.measured] == [False] * num_whole + [True]
    assert [point.run for point in swept.curve.points] == list(range(num_whole))
    compared = run_comparison([target, replace(target, name="b")], 3, measure_one)
    assert len(compared.measured) == 2 * num_whole + 1
    assert {len(ratio.rounds) for ratio in compared.ratios} == ({1} if num_whole else set())


@pytest.mark.parametrize("loads", [[], [0.0, 1.0], [float("inf")], [1.0, float("nan")]])
def test_invalid_loads_are_refused(loads: list[float], target: BenchTarget) -> None:
    with pytest.raises(OptionError):
        run_sweep(
            "concurrency",
            loads,
            lambda index, load: measure(target, plan(), LOOKING),
            stops_when_saturated=False,
        )


def test_a_comparison_interleaves_targets(target: BenchTarget) -> None:
    targets = parse_targets(
        [f"a={target.base_url}", f"b={target.base_url}/v1#mock"], model=None, api_key=None
    )
    assert [(each.name, each.model) for each in targets] == [("a", "mock"), ("b", "mock")]
    outcome = run_comparison(
        targets, 3, lambda index, one: measure(one, plan(2, setting={"round": index}), LOOKING)
    )
    order = [(each.run.setting["round"], each.run.target) for each in outcome.measured]
    assert order == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "b"), (2, "a")]
    latency = next(ratio for ratio in outcome.ratios if ratio.figure == "latency_s_p50")
    assert (latency.target, latency.base, len(latency.rounds)) == ("b", "a", 3)


def test_a_comparison_with_failures_is_refused(target: BenchTarget) -> None:
    targets = [target, BenchTarget("b", "http://127.0.0.1:1", "mock")]
    outcome = run_comparison(targets, 1, lambda index, one: measure(one, plan(2), LOOKING))
    assert "requests to b failed in round 1" in str(outcome.ended_by)
    assert outcome.ratios == []
    assert [each.run.target for each in outcome.measured] == ["server", "b"]


def test_comparison_ratios_use_complete_rounds(target: BenchTarget) -> None:
    targets = [target, replace(target, name="b")]

    def measure_target(index: int, one: BenchTarget) -> MeasuredRun:
        # Round 1 begins with b, so that one of its two turns is over by then.
        if index == 1 and one is target:
            raise KeyboardInterrupt
        return measure(one, plan(2), LOOKING)

    outcome = run_comparison(targets, 3, measure_target)
    assert [each.run.target for each in outcome.measured] == ["server", "b", "b"]
    assert {len(ratio.rounds) for ratio in outcome.ratios} == {1}
    assert isinstance(outcome.ended_by, InterruptedRunError)


def test_invalid_numbers_are_refused(target: BenchTarget) -> None:
    for values, reported in (
        ({"timeout_s": 0.0}, "--timeout-s must be above 0"),
        ({"timeout_s": float("nan")}, "--timeout-s"),
        ({"num_warm_ups": -1}, "--num-warm-ups must not be negative"),
    ):
        with pytest.raises(OptionError, match=reported):
            plan(**values)
    with pytest.raises(OptionError, match="--pid 999999999: there is no such process"):
        measure(target, plan(), replace(LOOKING, server_pid=999_999_999))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (["http://h"], "NAME=URL"),
        (["a=http://h#m"], "two targets"),
        (["a=http://h#m", "a=http://i#m"], "given twice"),
    ],
)
def test_invalid_targets_are_refused(written: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_targets(written, model=None)
