"""Every runner that gives vectors keeps the protocol of steps."""

from pathlib import Path

import pytest

from headrace.core.generation.pooling import PoolingParams
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.execution.runner import Runner
from headrace.scheduler.output import (
    AdmittedRequest,
    PooledVector,
    ScheduledRequest,
    SchedulerOutput,
)
from headrace.testing.fakes.fake_runner import FakeRunner
from headrace.testing.models.tiny_pooling import write_tiny_net
from headrace.testing.models.vectors import start

BLOCK_SIZE = 32
PROMPT = [3 + place % 90 for place in range(40)]


@pytest.fixture(scope="module", params=["fake", "Llama", "Bert"])
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    if request.param == "fake":
        return FakeRunner(block_size=BLOCK_SIZE, vocab_size=100, vector_size=8)
    directory: Path = tmp_path_factory.mktemp(request.param)
    files = write_tiny_net(directory, request.param)
    return start(files, pooling_type="mean").core._runner


def admitted(request_id: str, prompt: list[int]) -> AdmittedRequest:
    params = SamplingParams(max_tokens=1)
    return AdmittedRequest(
        request_id, prompt, [], params, 0, 0, frozenset(), pooling=PoolingParams()
    )


def whole(request_id: str, prompt: list[int], blocks: list[int]) -> ScheduledRequest:
    return ScheduledRequest(request_id, 0, len(prompt), blocks, [], needs_sample=True)


def vector_of(runner: Runner, prompt: list[int], released: list[str]) -> bytes:
    """Of the request "0", in one step."""
    step = SchedulerOutput([whole("0", prompt, [0, 1])], [admitted("0", prompt)], released)
    [result] = runner.execute(step).results
    assert isinstance(result, PooledVector)
    return result.values


def test_an_empty_step_with_unknown_ids(runner: Runner) -> None:
    assert runner.execute(SchedulerOutput(released=["nobody"])).results == []


def test_chunks_give_nothing_until_the_last(runner: Runner) -> None:
    first = ScheduledRequest("0", 0, 25, [0], [], needs_sample=False)
    last = ScheduledRequest("0", 25, 15, [1], [], needs_sample=True)
    assert runner.execute(SchedulerOutput([first], [admitted("0", PROMPT)])).results == [None]
    [result] = runner.execute(SchedulerOutput([last])).results
    assert isinstance(result, PooledVector)
    again = vector_of(runner, PROMPT, released=["0"])
    assert len(again) == len(result.values)
    runner.execute(SchedulerOutput(released=["0"]))


def test_an_id_that_is_released_and_admitted_is_a_new_request(runner: Runner) -> None:
    expected = vector_of(runner, PROMPT[:9], released=[])
    started = ScheduledRequest("0", 0, 25, [0], [], needs_sample=False)
    runner.execute(SchedulerOutput([started], [admitted("0", PROMPT)], ["0"]))
    assert vector_of(runner, PROMPT[:9], released=["0"]) == expected
    runner.execute(SchedulerOutput(released=["0"]))


def test_results_are_in_the_order_of_the_entries(runner: Runner) -> None:
    prompts = {"a": PROMPT, "b": PROMPT[:3], "c": PROMPT[5:30]}
    blocks = {"a": [0, 1], "b": [2], "c": [3]}
    alone = {}
    for name, prompt in prompts.items():
        alone[name] = vector_of(runner, prompt, released=[])
        runner.execute(SchedulerOutput(released=["0"]))
    step = SchedulerOutput(
        [whole(name, prompt, blocks[name]) for name, prompt in prompts.items()],
        [admitted(name, prompt) for name, prompt in prompts.items()],
    )
    found = dict(zip(prompts, runner.execute(step).results, strict=True))
    for name, result in found.items():
        assert isinstance(result, PooledVector)
        distances = {other: _distance(result.values, vector) for other, vector in alone.items()}
        assert min(distances, key=lambda other: distances[other]) == name
    runner.execute(SchedulerOutput(released=list(prompts)))


def _distance(one: bytes, other: bytes) -> float:
    numbers = zip(memoryview(one).cast("f"), memoryview(other).cast("f"), strict=True)
    return sum(abs(first - second) for first, second in numbers)
