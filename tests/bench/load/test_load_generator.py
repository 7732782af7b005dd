import asyncio
import json
from itertools import pairwise

import pytest

from headrace.bench.errors import OptionError, ServerError, root_cause
from headrace.bench.http.response_reader import ResponseReader
from headrace.bench.load import event_loop
from headrace.bench.load.arrivals import ClosedLoop, RatedArrivals, TraceArrivals
from headrace.bench.load.load_generator import LoadRun, run_load
from headrace.bench.records import BenchTarget, Failure, PlannedRequest
from headrace.testing.servers.scripted_server import Reply, ScriptedServer, Then, stream, whole

RESPONSE = {
    "choices": [{"text": "answer", "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}
CHAT_EVENTS = [
    json.dumps({"choices": [{"delta": {"content": "yes"}, "finish_reason": "stop"}]}),
    "[DONE]",
]


def plan(number, **options):
    return [
        PlannedRequest(max_tokens=2, prompt=f"p{index} q", **options) for index in range(number)
    ]


def load(workload, arrivals, replies, **options):
    """The result, and the server that saw the requests."""

    async def main():
        async with ScriptedServer(replies) as server:
            result = await run_load(
                BenchTarget("t", server.base_url, "m"),
                workload,
                arrivals,
                **{"is_streamed": False, "endpoint": "completions", "timeout_s": 60.0, **options},
            )
        return result, server

    return event_loop.run(main())


def prompts_of(server):
    return [request.json["prompt"] for request in server.requests]


@pytest.mark.parametrize("concurrency", [1, 3, 50])
def test_a_closed_loop_holds_its_concurrency(concurrency):
    result, server = load(plan(20, task="qa"), ClosedLoop(concurrency), [whole(RESPONSE)])
    assert [record.index for record in result.records] == list(range(20))
    assert all(record.is_successful and record.task == "qa" for record in result.records)
    assert sorted(prompts_of(server)) == sorted(planned.prompt for planned in plan(20))
    assert server.max_num_busy <= concurrency
    assert server.num_connections <= concurrency
    assert result.duration_s >= max(record.latency_s for record in result.records)
    assert result.client.send_lag_p99_s == 0.0


def test_requests_are_sent_at_their_rate():
    result, _ = load(plan(11), RatedArrivals(50.0, float("inf")), [whole(RESPONSE)])
    for record in result.records:
        assert record.sent_s >= record.index / 50.0 - 0.002  # the timer ticks in milliseconds
    assert result.duration_s >= 0.198
    assert result.client.send_lag_p99_s <= max(record.sent_s for record in result.records)


def test_a_trace_is_followed_in_time_and_order():
    times = [0.1, 0.0, 0.05]
    workload = [PlannedRequest(max_tokens=2, prompt=str(at), arrival_s=at) for at in times]
    result, server = load(workload, TraceArrivals(), [whole(RESPONSE)])
    assert sorted(prompts_of(server)) == ["0.0", "0.05", "0.1"]
    assert [record.index for record in result.records] == [0, 1, 2]
    last, first, second = (record.sent_s for record in result.records)
    assert first <= second <= last
    assert second >= 0.048
    assert last >= 0.098


def test_arrivals_above_the_concurrency_limit_wait():
    arrivals = RatedArrivals(float("inf"), max_concurrency=2)
    result, server = load(plan(12), arrivals, [whole(RESPONSE)])
    assert len(result.records) == 12
    assert server.max_num_busy <= 2


def test_a_wait_for_a_slot_is_recorded_separately_from_latency():
    arrivals = RatedArrivals(float("inf"), max_concurrency=1)
    result, _ = load(plan(3), arrivals, [whole(RESPONSE)])
    assert [record.due_s for record in result.records] == [0.0] * 3
    for before, after in pairwise(sorted(result.records, key=lambda record: record.sent_s)):
        assert after.wait_s >= before.ended_s
    closed, _ = load(plan(3), ClosedLoop(1), [whole(RESPONSE)])
    assert [record.wait_s for record in closed.records] == [None] * 3


def test_later_turns_contain_earlier_responses():
    def turn(text, follows=None):
        messages = ({"role": "user", "content": text},)
        return PlannedRequest(max_tokens=2, messages=messages, follows=follows)

    workload = [turn("a"), turn("b", 0), turn("c", 1)]
    result, server = load(
        workload, ClosedLoop(4), [stream(CHAT_EVENTS)], is_streamed=True, endpoint="chat"
    )
    assert [record.is_successful for record in result.records] == [True] * 3
    assert [record.text for record in result.records] == [""] * 3  # not recorded by default
    said = [message["content"] for message in server.requests[2].json["messages"]]
    assert said == ["a", "yes", "b", "yes", "c"]


def test_a_failed_turn_ends_its_conversation():
    workload = plan(1) + plan(1, follows=0) + plan(1)
    replies = [whole({}, "500 No"), whole(RESPONSE)]
    result, _ = load(workload, ClosedLoop(1), replies)
    assert [record.index for record in result.records] == [0, 2]
    assert result.records[0].failure is Failure.HTTP_STATUS


def test_warm_ups_use_other_prompts_and_are_not_recorded():
    result, server = load(plan(2), ClosedLoop(1), [whole(RESPONSE)], num_warm_ups=3)
    assert prompts_of(server) == ["q p0", "q p1", "q p0", "p0 q", "p1 q"]
    assert len(result.records) == 2


def test_a_failed_warm_up_prevents_the_measurement():
    with pytest.raises(ServerError, match="HTTP 503: loading"):
        load(plan(2), ClosedLoop(1), [whole({"error": "loading"}, "503 No")], num_warm_ups=2)


def test_text_is_recorded_on_request():
    result, _ = load(plan(1), ClosedLoop(1), [whole(RESPONSE)], keep_text=True)
    assert result.records[0].text == "answer"


def test_extra_fields_are_sent():
    _, server = load(plan(1), ClosedLoop(1), [whole(RESPONSE)], extra_body={"temperature": 0})
    assert server.requests[0].json["temperature"] == 0


def test_progress_is_reported_at_the_end():
    seen = []
    load(plan(5), ClosedLoop(2), [whole(RESPONSE), whole({}, "500 No")], on_progress=seen.append)
    last = seen[-1]
    assert (last.num_planned, last.num_sent, last.num_ended) == (5, 5, 5)
    assert (last.num_failed, last.num_output_tokens) == (4, 2)


def test_progress_is_reported_during_the_run():
    seen = []
    replies = [whole(RESPONSE), Reply((), Then.HANG)]
    result, _ = load(plan(2), ClosedLoop(1), replies, timeout_s=1.0, on_progress=seen.append)
    under_way = [each for each in seen if each.num_ended == 1]
    assert under_way
    assert under_way[0].elapsed_s < result.records[-1].ended_s


def test_a_cancelled_run_returns_completed_requests():
    """Two requests complete, the third one hangs."""

    async def main():
        replies = [whole(RESPONSE), whole(RESPONSE), Reply((), Then.HANG)]
        async with ScriptedServer(replies) as server:
            run = load_run(server, plan(10))
            assert run.result() is None
            running = asyncio.create_task(run.run())
            async with asyncio.timeout(60.0):
                while len(server.requests) < 3:
                    await asyncio.sleep(0.001)
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
            return run.result()

    result = event_loop.run(main())
    assert [record.index for record in result.records] == [0, 1]
    assert all(record.is_successful for record in result.records)
    assert result.duration_s == result.records[1].ended_s - result.records[0].sent_s


def load_run(server, workload, **options):
    return LoadRun(
        BenchTarget("t", server.base_url, "m"),
        workload,
        ClosedLoop(1),
        **{"is_streamed": False, "endpoint": "completions", **options},
    )


def ended_by_an_error(workload, **options):
    """The requests completed before an error ended the run, and the error."""

    async def main():
        async with ScriptedServer([whole(RESPONSE)]) as server:
            run = load_run(server, workload, **options)
            with pytest.raises(BaseException) as caught:  # noqa: PT011  (any kind)
                await run.run()
            return run.result(), root_cause(caught.value)

    return event_loop.run(main())


def test_an_unbuildable_request_preserves_earlier_records():
    workload = [*plan(3), PlannedRequest(max_tokens=1, prompt=(1,), follows=2), *plan(3)]
    result, error = ended_by_an_error(workload)
    assert isinstance(error, OptionError)
    assert [record.index for record in result.records] == [0, 1, 2]


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError()])
def test_an_error_in_reading_a_response_preserves_earlier_records(monkeypatch, error):
    finish, num_left = ResponseReader.finish, iter(range(3, -1, -1))

    def fail_the_fourth(reader, now_s):
        if next(num_left) == 0:
            raise error
        finish(reader, now_s)

    monkeypatch.setattr(ResponseReader, "finish", fail_the_fourth)
    result, raised = ended_by_an_error(plan(10))
    assert raised is error
    assert [record.index for record in result.records] == [0, 1, 2]


def test_an_error_in_showing_progress_preserves_all_records():
    def fail(progress):
        raise OSError("no terminal")

    result, error = ended_by_an_error(plan(3), on_progress=fail)
    assert str(error) == "no terminal"
    assert len(result.records) == 3


def test_a_cancelled_run_leaves_no_tasks_or_connections():
    async def main():
        async with ScriptedServer([Reply((), Then.HANG)]) as server:
            before = asyncio.all_tasks()
            running = asyncio.create_task(
                run_load(
                    BenchTarget("t", server.base_url, "m"),
                    plan(10),
                    ClosedLoop(4),
                    is_streamed=True,
                    endpoint="completions",
                    on_progress=lambda progress: None,
                )
            )
            async with asyncio.timeout(60.0):
                while server.max_num_busy < 4:
                    await asyncio.sleep(0.001)
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
                while server.num_open:
                    await asyncio.sleep(0.001)
            assert asyncio.all_tasks() == before

    event_loop.run(main())


@pytest.mark.parametrize(
    ("workload", "endpoint", "reported"),
    [
        ([], "completions", "empty"),
        (plan(1), "embeddings", "completions or chat"),
        ([PlannedRequest(max_tokens=1, prompt=(1,))], "chat", "token ids"),
        (plan(1, follows=0), "completions", "cannot follow"),
        (plan(1) + plan(2, follows=0), "completions", "no two follow the same"),
        ([PlannedRequest(max_tokens=1, prompt="\ud800")], "completions", "Request 0 .* JSON"),
        (
            [PlannedRequest(max_tokens=1, messages=({"role": "user", "content": "\ud800"},))],
            "chat",
            "Request 0 .* JSON",
        ),
    ],
)
def test_unencodable_prompts_are_reported_before_any_request(workload, endpoint, reported):
    with pytest.raises(OptionError, match=reported):
        load(workload, ClosedLoop(1), [whole(RESPONSE)], endpoint=endpoint)


@pytest.mark.parametrize("value", ["\ud800", object()])
def test_unencodable_fields_are_reported_before_any_request(value):
    with pytest.raises(OptionError, match=r"Request 0 .* JSON"):
        load(plan(1), ClosedLoop(1), [whole(RESPONSE)], extra_body={"field": value})
