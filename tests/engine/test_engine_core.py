"""The engine core with the real scheduler and a fake runner, in this process."""

import threading

import pytest

from headrace.core.errors import ContextLengthError, InvalidParameterError
from headrace.core.generation.outputs import FinishReason
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.config import EngineConfig
from headrace.engine.engine_core import EngineCore
from headrace.engine.messages import AddRequest, StepOutputs, TokenOutput
from headrace.engine.startup import build_scheduler
from headrace.scheduler.output import (
    RunnerOutput,
    SampledTokens,
    ScheduledRequest,
    SchedulerOutput,
)
from headrace.testing.fakes.fake_runner import FAILURE, FakeRunner

VOCAB_SIZE = 100
EOS = 0


class FakeClock:
    """Advances by one second at every call."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        self.time += 1.0
        return self.time


class RecordingRunner:
    """Returns scripted tokens, and records its calls."""

    def __init__(self, token_ids: list[int] | None = None) -> None:
        self.steps: list[SchedulerOutput] = []
        self._token_ids = token_ids
        self._num_drawn: dict[str, int] = {}

    def execute(self, step: SchedulerOutput) -> RunnerOutput:
        self.steps.append(step)
        return RunnerOutput([self._draw(entry) for entry in step.scheduled])

    def _draw(self, entry: ScheduledRequest) -> SampledTokens | None:
        if not entry.needs_sample:
            return None
        place = self._num_drawn.get(entry.request_id, 0)
        self._num_drawn[entry.request_id] = place + 1
        return SampledTokens([5 if self._token_ids is None else self._token_ids[place]])

    @property
    def released(self) -> list[str]:
        return [request_id for step in self.steps for request_id in step.released]


def make_core(runner: object, max_model_len: int = 512, **options: int) -> EngineCore:
    config = EngineConfig(model="fake", **options)  # type: ignore[arg-type]
    scheduler = build_scheduler(config, num_blocks=64, max_model_len=max_model_len)
    return EngineCore(scheduler, runner, frozenset({EOS}), VOCAB_SIZE, FakeClock())  # type: ignore[arg-type]


def add(core: EngineCore, request_id: str, num_prompt: int, num_output: int) -> None:
    core.add(
        AddRequest(
            request_id=request_id,
            prompt_token_ids=[1 + i % 50 for i in range(num_prompt)],
            params=SamplingParams(max_tokens=num_output),
            arrival_time=0.5,
            choice=0,
            seed=0,
            cache_salt="",
        )
    )


def run(core: EngineCore) -> list[StepOutputs]:
    steps = []
    while core.has_work:
        step = core.step()
        assert step is not None
        steps.append(step)
    return steps


def outputs_of(steps: list[StepOutputs]) -> list[TokenOutput]:
    return [output for step in steps for output in step.outputs]


def test_the_core_steps_until_the_last_token() -> None:
    core = make_core(RecordingRunner())
    add(core, "a", num_prompt=3, num_output=4)
    outputs = outputs_of(run(core))
    assert [output.token_ids for output in outputs] == [[5]] * 4
    assert [output.finish_reason for output in outputs] == [None, None, None, FinishReason.LENGTH]
    assert core.step() is None


def test_first_and_last_outputs_have_timestamps() -> None:
    core = make_core(RecordingRunner())
    add(core, "a", num_prompt=3, num_output=3)
    first, middle, last = outputs_of(run(core))
    assert middle.times is None
    times = last.times
    assert first.times is not None
    assert times is not None
    assert first.times.last_token == first.times.first_token == times.first_token
    assert times.arrival == 0.5
    assert times.queued < times.scheduled < times.first_token < times.last_token


def test_eos_ends_a_request() -> None:
    core = make_core(RecordingRunner([7, 8, EOS, 9]))
    add(core, "a", num_prompt=3, num_output=10)
    outputs = outputs_of(run(core))
    assert [output.token_ids for output in outputs] == [[7], [8], [EOS]]
    assert outputs[-1].finish_reason == FinishReason.STOP
    assert outputs[-1].stop_token_id is None


def test_a_failed_request_is_reported_without_a_token() -> None:
    core = make_core(FakeRunner(block_size=32, vocab_size=VOCAB_SIZE, failing_token_id=3))
    add(core, "bad", num_prompt=3, num_output=4)
    add(core, "good", num_prompt=2, num_output=4)
    outputs = outputs_of(run(core))
    (bad,) = [output for output in outputs if output.request_id == "bad"]
    assert bad.token_ids == []
    assert bad.finish_reason == FinishReason.ERROR
    assert bad.failure == FAILURE
    good = [output for output in outputs if output.request_id == "good"]
    assert all(output.failure is None for output in good)
    assert sum(len(output.token_ids) for output in good) == 4


def test_prefill_chunks_have_no_outputs() -> None:
    core = make_core(RecordingRunner(), max_num_batched_tokens=16)
    add(core, "a", num_prompt=40, num_output=1)
    steps = run(core)
    assert [step.stats.num_scheduled_tokens for step in steps] == [16, 16, 8]
    assert [len(step.outputs) for step in steps] == [0, 0, 1]


def test_an_abort_updates_the_stats_of_an_idle_core() -> None:
    runner = RecordingRunner()
    core = make_core(runner)
    add(core, "a", num_prompt=3, num_output=100)
    first = core.step()
    assert first is not None
    assert first.stats.num_running == 1
    core.abort(["a", "never heard of"])
    assert core.has_work
    after = core.step()
    assert after is not None
    assert after.outputs == []
    assert (after.stats.num_running, after.stats.num_used_blocks) == (0, 0)
    assert runner.released == ["a"]
    assert not core.has_work
    assert core.step() is None


def test_every_request_that_ends_is_released_in_the_runner() -> None:
    runner = RecordingRunner()
    core = make_core(runner)
    for i in range(5):
        add(core, f"r{i}", num_prompt=3, num_output=1 + i)
    run(core)
    add(core, "last", num_prompt=3, num_output=1)
    run(core)
    assert set(runner.released) >= {f"r{i}" for i in range(5)}


@pytest.mark.parametrize("prompt", [[], [VOCAB_SIZE], [-1]])
def test_invalid_prompts_are_rejected(prompt: list[int]) -> None:
    core = make_core(FakeRunner(block_size=16, vocab_size=VOCAB_SIZE))
    message = AddRequest("a", prompt, SamplingParams(), 0.0, 0, 0, "")
    with pytest.raises(InvalidParameterError):
        core.add(message)
    assert not core.has_work


def test_requests_that_can_never_be_scheduled_are_rejected() -> None:
    core = make_core(FakeRunner(block_size=32, vocab_size=VOCAB_SIZE), max_model_len=16)
    with pytest.raises(ContextLengthError) as too_long:
        add(core, "long", num_prompt=13, num_output=4)
    assert too_long.value.max_model_len == 16
    with pytest.raises(InvalidParameterError) as empty:
        add(core, "empty", num_prompt=0, num_output=4)
    assert empty.value.param == "prompt"
    add(core, "fits", num_prompt=12, num_output=4)
    with pytest.raises(InvalidParameterError, match="'fits'") as in_use:
        add(core, "fits", num_prompt=3, num_output=4)
    assert in_use.value.param == "request_id"
    first = core.step()
    assert first is not None
    assert first.stats.num_running == 1


def test_existing_output_counts_as_output() -> None:
    """A continuation draws on from it, under the same limit, and reports only new tokens."""
    runner = FakeRunner(block_size=32, vocab_size=VOCAB_SIZE)
    core = make_core(runner)
    prompt = [7, 8, 9]
    whole = runner.reference(prompt, 6)
    params = SamplingParams(max_tokens=6, ignore_eos=True)
    core.add(AddRequest("a", prompt, params, 0.5, 0, 0, "", whole[:4]))
    outputs = outputs_of(run(core))
    assert [output.token_ids for output in outputs] == [[token_id] for token_id in whole[4:]]
    assert outputs[-1].finish_reason == FinishReason.LENGTH
    assert outputs[0].times is not None


def test_min_tokens_counts_existing_output() -> None:
    runner = RecordingRunner([EOS])
    core = make_core(runner)
    params = SamplingParams(max_tokens=9, min_tokens=4)
    core.add(AddRequest("a", [7, 8, 9], params, 0.5, 0, 0, "", [5, 5, 5]))
    (output,) = outputs_of(run(core))
    assert output.finish_reason == FinishReason.STOP


class WaitingRunner(RecordingRunner):
    """Ends no step before it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = threading.Event()

    def execute(self, step: SchedulerOutput) -> RunnerOutput:
        assert self.may_end.wait(20.0)
        return super().execute(step)


def test_the_caller_works_and_the_next_step_is_planned_while_a_step_is_computed() -> None:
    runner = WaitingRunner()
    core = make_core(runner)
    add(core, "a", num_prompt=3, num_output=4)
    planned: list[SchedulerOutput] = []
    plan_ahead = core._scheduler.plan_ahead

    def plan_and_let_it_end(step: SchedulerOutput) -> None:
        plan_ahead(step)
        planned.append(step)
        runner.may_end.set()

    core._scheduler.plan_ahead = plan_and_let_it_end  # type: ignore[method-assign]
    calls: list[int] = []
    while core.has_work:
        runner.may_end.clear()
        outputs = core.step(lambda: calls.append(len(planned)))
        assert outputs is not None
        assert [output.token_ids for output in outputs.outputs] == [[5]]
    assert calls == [0, 1, 2, 3]
    assert planned == runner.steps


def test_an_error_beside_the_step_is_raised_after_it() -> None:
    core = make_core(RecordingRunner())
    add(core, "a", num_prompt=3, num_output=2)

    def fail() -> None:
        raise EOFError

    with pytest.raises(EOFError):
        core.step(fail)


def test_a_runner_that_raises_leaves_no_work_behind() -> None:
    """The step is repeated after that: the plan that was made ahead is dropped."""

    class FailingRunner(FakeRunner):
        def execute(self, step: SchedulerOutput) -> RunnerOutput:
            if self.num_steps == 2:
                self.num_steps += 1
                raise MemoryError
            return super().execute(step)

    core = make_core(FailingRunner(block_size=32, vocab_size=VOCAB_SIZE))
    add(core, "a", num_prompt=3, num_output=5)
    first, second = core.step(), core.step()
    assert first is not None
    assert second is not None
    done: list[int] = []
    with pytest.raises(MemoryError):
        core.step(lambda: done.append(1))
    assert done == [1]
    core.abort(["a"])
    add(core, "b", num_prompt=3, num_output=5)
    assert sum(len(output.token_ids) for output in outputs_of(run(core))) == 5
