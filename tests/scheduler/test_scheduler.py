import dataclasses
from collections.abc import Sequence

import pytest

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.outputs import FinishReason
from headrace.core.generation.request import Request, RequestStatus
from headrace.core.generation.sampling_params import SamplingParams
from headrace.kvcache.manager import KVCacheManager
from headrace.scheduler.output import (
    RunnerOutput,
    SampledTokens,
    SchedulerOutput,
    TokenUpdate,
)
from headrace.scheduler.queue import SchedulingPolicy
from headrace.scheduler.scheduler import Scheduler, SchedulerConfig
from headrace.testing.fakes.fake_runner import FAILURE, FakeRunner

BLOCK_SIZE = 4
VOCAB_SIZE = 1000


class Engine:
    """A scheduler over a fake runner; the clock is the number of the step."""

    def __init__(
        self,
        *,
        num_blocks: int = 64,
        max_num_seqs: int = 8,
        max_num_batched_tokens: int = 64,
        max_model_len: int = 64,
        enable_prefix_caching: bool = True,
        max_adapters: int = 8,
        policy: SchedulingPolicy = "fcfs",
    ) -> None:
        self.kv_cache = KVCacheManager(
            num_blocks=num_blocks,
            block_size=BLOCK_SIZE,
            enable_prefix_caching=enable_prefix_caching,
        )
        self.scheduler = Scheduler(
            SchedulerConfig(
                max_num_seqs=max_num_seqs,
                max_num_batched_tokens=max_num_batched_tokens,
                max_model_len=max_model_len,
                max_adapters=max_adapters,
                policy=policy,
            ),
            self.kv_cache,
        )
        self.runner = FakeRunner(block_size=BLOCK_SIZE, vocab_size=VOCAB_SIZE)
        self.now = 0.0
        self.outputs: dict[str, list[int]] = {}

    def add(
        self,
        request_id: str,
        prompt: Sequence[int],
        max_tokens: int = 4,
        salt: str = "",
        priority: int = 0,
        params: SamplingParams | None = None,
        adapter_id: int = 0,
    ) -> Request:
        request = Request(
            request_id,
            list(prompt),
            params or SamplingParams(),
            max_tokens,
            self.now,
            priority=priority,
            cache_salt=salt,
            adapter_id=adapter_id,
        )
        self.scheduler.add(request, self.now)
        return request

    def schedule(self) -> SchedulerOutput:
        self.now += 1.0
        assert self.now < 1000, "the requests do not get on"
        return self.scheduler.schedule(self.now)

    def compute(self, step: SchedulerOutput) -> list[TokenUpdate]:
        computed = self.runner.execute(step)
        updates = self.scheduler.update(step, computed, self.now + 0.5)
        self.kv_cache.check_integrity()
        for update in updates:
            if update.token_ids:
                self.outputs.setdefault(update.request.request_id, []).extend(update.token_ids)
        return updates

    def step(self) -> SchedulerOutput:
        step = self.schedule()
        self.compute(step)
        return step

    def finish(self) -> None:
        while self.scheduler.has_requests:
            assert self.step().scheduled


def shares(step: SchedulerOutput) -> list[tuple[str, int]]:
    """The number of tokens by request, in the step's order."""
    return [(entry.request_id, entry.num_tokens) for entry in step.scheduled]


def test_the_lifecycle_of_a_request() -> None:
    engine = Engine()
    request = engine.add("a", range(10), max_tokens=3)
    assert request.queued_time == 0.0
    assert shares(engine.step()) == [("a", 10)]
    assert shares(engine.step()) == [("a", 1)]
    assert engine.scheduler.num_running == 1
    assert shares(engine.step()) == [("a", 1)]
    assert engine.outputs["a"] == engine.runner.reference(range(10), 3)
    assert request.status is RequestStatus.FINISHED
    assert request.finish_reason is FinishReason.LENGTH
    assert (request.scheduled_time, request.first_token_time, request.last_token_time) == (
        1.0,
        1.5,
        3.5,
    )
    assert not engine.scheduler.has_requests
    assert engine.kv_cache.num_used_blocks == 0
    step = engine.step()
    assert not step
    assert step.released == ["a"]
    assert engine.step().released == []


def test_a_long_prompt_is_prefilled_in_chunks_with_decodes() -> None:
    engine = Engine(max_num_batched_tokens=16)
    engine.add("short", range(100, 103), max_tokens=8)
    engine.add("long", range(40))
    assert shares(engine.step()) == [("short", 3), ("long", 13)]
    assert shares(engine.step()) == [("short", 1), ("long", 15)]
    assert shares(engine.step()) == [("short", 1), ("long", 12)]
    assert shares(engine.step()) == [("short", 1), ("long", 1)]
    engine.finish()
    assert engine.outputs["long"] == engine.runner.reference(range(40), 4)


def test_decodes_are_scheduled_first() -> None:
    engine = Engine(max_num_batched_tokens=20)
    engine.add("first", range(9), max_tokens=1)
    engine.finish()
    engine.add("running", range(100, 103))
    engine.step()
    engine.add("chunk", range(200, 210))
    engine.add("cached", range(9))
    step = engine.schedule()
    assert shares(step) == [("running", 1), ("cached", 1), ("chunk", 10)]
    assert all(entry.needs_sample for entry in step.scheduled)


def test_new_blocks_are_sent_incrementally() -> None:
    engine = Engine()
    engine.add("a", range(6), max_tokens=8)
    sent = []
    num_blocks = 0
    for _ in range(8):
        (entry,) = engine.step().scheduled
        num_blocks += len(entry.new_block_ids)
        sent.append((num_blocks, len(entry.new_block_ids)))
    assert sent == [(2, 2), (2, 0), (2, 0), (3, 1), (3, 0), (3, 0), (3, 0), (4, 1)]


def test_the_number_of_running_requests_is_limited() -> None:
    engine = Engine(max_num_seqs=2)
    for request_id in "abc":
        engine.add(request_id, [ord(request_id)], max_tokens=2)
    assert shares(engine.step()) == [("a", 1), ("b", 1)]
    assert (engine.scheduler.num_running, engine.scheduler.num_waiting) == (2, 1)
    engine.step()
    assert shares(engine.step()) == [("c", 1)]


def test_the_most_recent_request_is_preempted_and_keeps_its_output() -> None:
    engine = Engine(num_blocks=6, max_model_len=24)
    old = engine.add("old", range(7), max_tokens=12)
    young = engine.add("young", range(100, 107), max_tokens=12)
    while not young.num_preemptions:
        step = engine.step()
    assert shares(step) == [("old", 1)]
    assert step.released == ["young"]
    assert young.status is RequestStatus.PREEMPTED
    assert young.num_computed_tokens == 0
    assert engine.scheduler.stats(1).num_preemptions_total == 1
    engine.add("new", range(200, 203))
    engine.finish()
    assert old.num_preemptions == 0
    assert engine.outputs["old"] == engine.runner.reference(range(7), 12)
    assert engine.outputs["young"] == engine.runner.reference(range(100, 107), 12)
    assert engine.outputs["new"] == engine.runner.reference(range(200, 203), 4)
    assert young.num_cached_tokens == 0
    assert young.scheduled_time == 1.0
    assert engine.kv_cache.num_used_blocks == 0


def test_a_preempted_request_precedes_waiting_ones() -> None:
    engine = Engine(num_blocks=6, max_model_len=24, max_num_seqs=2)
    engine.add("old", range(7), max_tokens=12)
    young = engine.add("young", range(100, 107), max_tokens=12)
    engine.add("new", [200, 201])
    while not young.num_preemptions:
        engine.step()
    order = []
    while engine.scheduler.has_requests:
        for request_id, _ in shares(engine.step()):
            if request_id not in order:
                order.append(request_id)
    assert order == ["old", "young", "new"]


def test_admission_reserves_a_block_for_each_running_request() -> None:
    engine = Engine(num_blocks=6, max_model_len=24)
    engine.add("old", range(16), max_tokens=8)
    engine.step()
    young = engine.add("young", range(100, 104), max_tokens=8)
    assert shares(engine.step()) == [("old", 1)]
    engine.finish()
    assert young.num_preemptions == 0


def test_a_prefix_in_flight_is_computed_once() -> None:
    """Many requests share a prefix: the first computes it, the others wait one step."""
    engine = Engine(num_blocks=256, max_num_seqs=32, max_num_batched_tokens=128)
    prefix = list(range(32))
    requests = [engine.add(f"r{number}", [*prefix, 500 + number]) for number in range(16)]
    assert shares(engine.step()) == [("r0", 33)]
    assert engine.scheduler.num_waiting == 15
    step = engine.step()
    assert shares(step) == [(f"r{number}", 1) for number in range(16)]
    assert all(request.num_cached_tokens == 32 for request in requests[1:])
    stats = engine.scheduler.stats(16)
    assert stats.prefix_cache_queries_total == 16 * 33
    assert stats.prefix_cache_hits_total == 15 * 32
    assert stats.num_used_blocks == 8 + 16
    engine.finish()
    for number in range(16):
        reference = engine.runner.reference([*prefix, 500 + number], 4)
        assert engine.outputs[f"r{number}"] == reference


def test_a_prefix_in_flight_is_computed_once_in_chunks() -> None:
    engine = Engine(num_blocks=256, max_num_seqs=32, max_num_batched_tokens=20)
    prefix = list(range(50))
    for number in range(8):
        engine.add(f"r{number}", [*prefix, 500 + number], max_tokens=1)
    engine.finish()
    # The last two of the prefix's 50 tokens are in no full block, so each request computes them.
    assert engine.runner.num_tokens == 48 + 8 * 3
    for number in range(8):
        assert engine.outputs[f"r{number}"] == engine.runner.reference([*prefix, 500 + number], 1)


def test_a_request_waiting_for_a_prefix_does_not_block_others_or_lose_its_place() -> None:
    engine = Engine(max_num_seqs=3)
    for request_id, first in (("lead", 0), ("held", 0), ("other", 100), ("last", 200)):
        engine.add(request_id, range(first, first + 9))
    assert shares(engine.step()) == [("lead", 9), ("other", 9)]
    assert shares(engine.step()) == [("lead", 1), ("other", 1), ("held", 1)]
    engine.finish()
    assert engine.outputs["held"] == engine.outputs["lead"]


def test_a_waiting_request_computes_the_prefix_if_the_first_is_aborted() -> None:
    engine = Engine()
    engine.add("lead", range(9))
    engine.add("held", range(9))
    step = engine.schedule()
    assert shares(step) == [("lead", 9)]
    engine.scheduler.abort(["lead"])
    assert engine.compute(step) == []
    assert shares(engine.step()) == [("held", 9)]
    engine.finish()
    assert engine.outputs == {"held": engine.runner.reference(range(9), 4)}


def test_requests_with_different_salts_are_independent() -> None:
    engine = Engine()
    engine.add("a", range(9), salt="a")
    engine.add("b", range(9), salt="b")
    assert shares(engine.step()) == [("a", 9), ("b", 9)]


def test_requests_with_different_adapters_are_independent() -> None:
    engine = Engine()
    for adapter_id in (0, 1, 2):
        engine.add(str(adapter_id), range(9), adapter_id=adapter_id)
    step = engine.step()
    assert shares(step) == [("0", 9), ("1", 9), ("2", 9)]
    assert [request.adapter_id for request in step.admitted] == [0, 1, 2]
    engine.add("again", range(9), adapter_id=2)
    engine.add("new", range(9), adapter_id=3)
    assert shares(engine.step())[3:] == [("again", 1), ("new", 9)]


def test_the_number_of_adapters_that_run_is_limited() -> None:
    engine = Engine(max_adapters=2)
    for request_id, adapter_id in (("a", 1), ("b", 2), ("c", 1), ("d", 3), ("e", 1), ("f", 0)):
        engine.add(request_id, [ord(request_id)], max_tokens=2, adapter_id=adapter_id)
    # "d" has no place yet, and what is behind it waits, so that it gets one.
    assert shares(engine.step()) == [("a", 1), ("b", 1), ("c", 1)]
    engine.step()
    assert shares(engine.step()) == [("d", 1), ("e", 1), ("f", 1)]
    engine.finish()
    assert len(engine.outputs) == 6


def test_without_prefix_caching_no_request_waits_for_a_prefix() -> None:
    engine = Engine(enable_prefix_caching=False)
    engine.add("a", range(9))
    engine.add("b", range(9))
    assert shares(engine.step()) == [("a", 9), ("b", 9)]
    engine.finish()
    assert engine.outputs["a"] == engine.outputs["b"] == engine.runner.reference(range(9), 4)


def test_a_later_turn_hits_the_previous_prompt_and_output() -> None:
    engine = Engine()
    engine.add("turn1", range(9), max_tokens=8)
    engine.finish()
    conversation = [*range(9), *engine.outputs["turn1"]]
    turn2 = engine.add("turn2", [*conversation, 900, 901])
    engine.step()
    assert turn2.num_cached_tokens == 16


def test_an_abort_frees_blocks_at_once_in_every_state() -> None:
    engine = Engine(max_num_seqs=1)
    running = engine.add("running", range(9))
    waiting = engine.add("waiting", range(100, 103))
    engine.step()
    assert engine.scheduler.abort(["waiting", "stranger", "running"]) == [waiting, running]
    assert engine.kv_cache.num_used_blocks == 0
    assert not engine.scheduler.has_requests
    assert engine.scheduler.num_running == engine.scheduler.num_waiting == 0
    for request in (running, waiting):
        assert request.status is RequestStatus.FINISHED
        assert request.finish_reason is FinishReason.ABORT
    assert engine.scheduler.abort(["running"]) == []
    step = engine.step()
    assert not step
    assert "running" in step.released


def test_an_abort_during_a_step_drops_only_its_token() -> None:
    engine = Engine()
    for request_id, first in (("a", 0), ("b", 100), ("c", 200)):
        engine.add(request_id, range(first, first + 5))
    engine.step()
    step = engine.schedule()
    (aborted,) = engine.scheduler.abort(["b"])
    engine.compute(step)
    assert aborted.num_output_tokens == 1
    engine.finish()
    assert engine.outputs["a"] == engine.runner.reference(range(5), 4)
    assert engine.outputs["c"] == engine.runner.reference(range(200, 205), 4)
    assert len(engine.outputs["b"]) == 1


def test_a_failed_request_ends_alone() -> None:
    engine = Engine()
    engine.runner = FakeRunner(block_size=BLOCK_SIZE, vocab_size=VOCAB_SIZE, failing_token_id=104)
    engine.add("a", range(5))
    bad = engine.add("b", range(100, 105))
    engine.add("c", range(200, 205))
    step = engine.schedule()
    updates = engine.compute(step)
    (failed,) = [update for update in updates if update.request is bad]
    assert (failed.token_ids, failed.logprobs) == ([], None)
    assert bad.finish_reason is FinishReason.ERROR
    assert bad.failure == FAILURE
    assert (bad.status, bad.num_output_tokens) == (RequestStatus.FINISHED, 0)
    assert engine.scheduler.num_running == 2
    assert "b" in engine.step().released
    engine.finish()
    assert engine.outputs["a"] == engine.runner.reference(range(5), 4)
    assert engine.outputs["c"] == engine.runner.reference(range(200, 205), 4)
    assert engine.kv_cache.num_used_blocks == 0


def test_a_failure_of_a_finished_request_is_dropped() -> None:
    engine = Engine()
    engine.runner = FakeRunner(block_size=BLOCK_SIZE, vocab_size=VOCAB_SIZE, failing_token_id=104)
    engine.add("b", range(100, 105))
    step = engine.schedule()
    (aborted,) = engine.scheduler.abort(["b"])
    assert engine.compute(step) == []
    assert aborted.finish_reason is FinishReason.ABORT


def test_an_id_can_be_reused_while_its_aborted_step_runs() -> None:
    engine = Engine()
    old = engine.add("a", range(9))
    step = engine.schedule()
    engine.scheduler.abort(["a"])
    engine.add("a", range(100, 105))
    assert engine.compute(step) == []
    assert engine.step().released == ["a"]
    engine.finish()
    assert old.num_output_tokens == 0
    assert engine.outputs["a"] == engine.runner.reference(range(100, 105), 4)


def test_a_result_that_does_not_match_the_step_is_refused() -> None:
    engine = Engine()
    engine.add("a", range(9))
    step = engine.schedule()
    with pytest.raises(ValueError, match="shorter"):
        engine.scheduler.update(step, RunnerOutput([]), 1.0)


def test_an_id_in_use_is_rejected() -> None:
    engine = Engine(max_model_len=16)
    engine.add("fits", range(12), max_tokens=4)
    with pytest.raises(InvalidParameterError, match="'fits'") as caught:
        engine.add("fits", range(3))
    assert caught.value.param == "request_id"
    assert engine.scheduler.num_waiting == 1


def test_a_cache_too_small_for_one_request_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has 15 blocks .* needs 16"):
        Engine(num_blocks=15, max_model_len=64)
    engine = Engine(num_blocks=16, max_model_len=64)
    engine.add("a", range(10), max_tokens=54)
    engine.finish()
    assert engine.outputs["a"] == engine.runner.reference(range(10), 54)


def test_stats_have_gauges_and_counters() -> None:
    engine = Engine(max_num_seqs=1)
    engine.add("a", range(9), max_tokens=1)
    engine.add("b", range(9), max_tokens=2)
    engine.finish()
    engine.add("c", [1], max_tokens=2)
    engine.add("d", [2], max_tokens=2)
    stats = engine.scheduler.stats(engine.step().num_tokens)
    assert (stats.num_running, stats.num_waiting, stats.num_scheduled_tokens) == (1, 1, 1)
    assert (stats.num_blocks, stats.num_used_blocks) == (64, 1)
    assert (stats.prefix_cache_queries_total, stats.prefix_cache_hits_total) == (19, 8)
    assert stats.num_preemptions_total == 0


@pytest.mark.parametrize("name", ["max_num_seqs", "max_num_batched_tokens", "max_model_len"])
def test_an_invalid_limit_is_named(name: str) -> None:
    config = SchedulerConfig(max_num_seqs=4, max_num_batched_tokens=64, max_model_len=128)
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        dataclasses.replace(config, **{name: 0})


def plan_ahead(engine: Engine, step: SchedulerOutput, *token_ids: list[int] | None) -> None:
    """Plan the next step while this one is computed, which gives its entries these tokens."""
    engine.scheduler.plan_ahead(step)
    results = [None if drawn is None else SampledTokens(drawn) for drawn in token_ids]
    engine.scheduler.update(step, RunnerOutput(list(results)), engine.now + 0.5)
    engine.kv_cache.check_integrity()


def test_a_step_that_was_planned_ahead_has_the_tokens_drawn_meanwhile() -> None:
    engine = Engine()
    engine.add("a", range(3))
    engine.add("b", range(10, 18))
    plan_ahead(engine, engine.schedule(), [100], [200])
    a, b = engine.schedule().scheduled
    assert (a.start, a.num_tokens, a.new_token_ids, a.new_block_ids) == (3, 1, [100], [])
    assert (b.start, b.num_tokens, b.new_token_ids) == (8, 1, [200])
    assert len(b.new_block_ids) == 1
    assert a.needs_sample
    assert b.needs_sample


def test_another_number_of_tokens_than_planned_is_corrected() -> None:
    engine = Engine()
    request = engine.add("a", range(4), max_tokens=9)
    first = engine.schedule()
    plan_ahead(engine, first, [100, 101, 102])
    (entry,) = engine.schedule().scheduled
    assert (entry.start, entry.num_tokens) == (4, 3)
    assert entry.new_token_ids == [100, 101, 102]
    assert entry.needs_sample
    blocks = first.scheduled[0].new_block_ids + entry.new_block_ids
    assert len(blocks) == 2  # those of the dropped plan are sent with it
    assert request.num_sent_tokens == 7


def test_a_request_that_ended_leaves_the_plan_and_its_budget() -> None:
    engine = Engine(max_num_batched_tokens=4)
    engine.add("a", [1], max_tokens=2)
    engine.add("b", range(20), max_tokens=2)
    step = engine.schedule()
    assert shares(step) == [("a", 1), ("b", 3)]
    engine.scheduler.abort(["a"])
    plan_ahead(engine, step, [7], None)
    assert shares(engine.schedule()) == [("b", 4)]


def test_a_request_that_gets_its_last_token_is_not_planned() -> None:
    engine = Engine()
    engine.add("a", range(4), max_tokens=1)
    engine.add("b", range(4, 8), max_tokens=2)
    num_used = engine.kv_cache.num_used_blocks
    step = engine.schedule()
    engine.scheduler.plan_ahead(step)
    assert engine.kv_cache.num_used_blocks == num_used + 2 + 1  # one for the second token of b


def test_planning_ahead_preempts_nothing() -> None:
    engine = Engine(num_blocks=4, max_model_len=16)
    engine.add("old", range(7), max_tokens=8)
    engine.add("young", range(20, 24), max_tokens=8)
    step = engine.schedule()
    plan_ahead(engine, step, [100], [200])
    step = engine.schedule()
    assert shares(step) == [("old", 1), ("young", 1)]
    plan_ahead(engine, step, [101], [201])
    assert shares(engine.schedule())[0] == ("old", 1)


def test_an_id_that_is_used_again_while_its_step_is_computed_is_a_new_request() -> None:
    engine = Engine()
    engine.add("a", range(5))
    step = engine.schedule()
    engine.scheduler.plan_ahead(step)
    engine.scheduler.abort(["a"])
    again = engine.add("a", range(50, 53))
    assert engine.scheduler.update(step, RunnerOutput([SampledTokens([9])]), 1.0) == []
    second = engine.schedule()
    assert second.released == ["a"]
    assert [admitted.prompt_token_ids for admitted in second.admitted] == [[50, 51, 52]]
    assert shares(second) == [("a", 3)]
    assert again.num_output_tokens == 0


def test_with_priorities_lower_values_are_admitted_first() -> None:
    engine = Engine(max_num_seqs=1, policy="priority")
    for request_id, priority in (("low", 1), ("first", -1), ("second", -1), ("middle", 0)):
        engine.add(request_id, [1, 2, 3], max_tokens=1, priority=priority)
        engine.now += 0.1
    order = [engine.step().scheduled[0].request_id for _ in range(4)]
    assert order == ["first", "second", "middle", "low"]


@pytest.mark.parametrize(("policy", "victim"), [("fcfs", "young"), ("priority", "old")])
def test_the_least_important_request_is_preempted(policy: SchedulingPolicy, victim: str) -> None:
    engine = Engine(num_blocks=6, max_model_len=20, policy=policy)
    old = engine.add("old", [1] * 7, max_tokens=10, priority=1)
    engine.step()
    young = engine.add("young", [2] * 7, max_tokens=10)
    while not old.num_preemptions and not young.num_preemptions:
        engine.step()
    preempted = old if old.num_preemptions else young
    assert preempted.request_id == victim
    while engine.scheduler.has_requests:
        engine.step()
    for request in (old, young):
        expected = engine.runner.reference(request.prompt_token_ids, 10)
        assert engine.outputs[request.request_id] == expected


def test_a_request_for_prompt_logprobs_reads_only_blocks_that_it_has_scored() -> None:
    engine = Engine(max_num_batched_tokens=6)
    engine.add("a", range(16), max_tokens=1)
    while engine.scheduler.has_requests:
        engine.step()
    request = engine.add("b", range(16), max_tokens=9, params=SamplingParams(prompt_logprobs=0))
    starts = [engine.step().scheduled[0].start for _ in range(3)]
    assert starts == [0, 6, 12]
    assert request.num_prompt_logprobs == 15

    def num_reused(num_prompt_logprobs: int) -> int:
        request.num_prompt_logprobs = num_prompt_logprobs  # as if it resumed after so many
        return engine.kv_cache.find_cached(request).num_tokens

    assert list(map(num_reused, (0, 3, 4, 11, 12, 14, 15))) == [0, 0, 4, 8, 12, 12, 16]
