import pytest

from headrace.core.request import Request
from headrace.core.sampling_params import SamplingParams
from headrace.scheduler.output import RunnerOutput, ScheduledRequest, SchedulerOutput
from headrace.testing.fakes.fake_runner import FakeRunner


def make_request(request_id: str, logprobs: int | None = None) -> Request:
    return Request(request_id, [1, 2, 3, 4, 5, 6], SamplingParams(logprobs=logprobs), 4, 0.0)


def execute(
    runner: FakeRunner, *entries: ScheduledRequest, released: tuple[str, ...] = ()
) -> RunnerOutput:
    return runner.execute(SchedulerOutput(list(entries), list(released)))


def test_only_the_last_chunk_draws_and_draws_what_the_reference_says() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    request = make_request("a")
    assert execute(runner, ScheduledRequest(request, 0, 4, [2], 1)).token_ids == []
    (token_id,) = execute(runner, ScheduledRequest(request, 4, 2, [2, 0], 1)).token_ids
    request.append_token(token_id)
    (second,) = execute(runner, ScheduledRequest(request, 6, 1, [2, 0], 0)).token_ids
    assert [token_id, second] == runner.reference([1, 2, 3, 4, 5, 6], 2)
    assert (runner.num_steps, runner.num_tokens) == (3, 7)


def test_the_next_token_may_be_given() -> None:
    runner = FakeRunner(block_size=8, vocab_size=50, next_token=len)
    assert execute(runner, ScheduledRequest(make_request("a"), 0, 6, [0], 1)).token_ids == [6]
    assert runner.reference([1, 2, 3], 3) == [3, 4, 5]


def test_logprobs_come_as_asked() -> None:
    runner = FakeRunner(block_size=8, vocab_size=50)
    without = ScheduledRequest(make_request("a"), 0, 6, [0], 1)
    with_two = ScheduledRequest(make_request("b", logprobs=2), 0, 6, [1], 1)
    drawn = execute(runner, without, with_two)
    assert drawn.logprobs[0] is None
    assert drawn.logprobs[1] is not None
    assert drawn.logprobs[1].token_id == drawn.logprobs[1].top[0][0] == drawn.token_ids[1]
    assert len(drawn.logprobs[1].top) == 2


def test_a_prefix_that_an_earlier_step_computed_may_be_shared() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    (alone,) = execute(runner, ScheduledRequest(make_request("a"), 0, 6, [0, 1], 2)).token_ids
    (shared,) = execute(runner, ScheduledRequest(make_request("b"), 4, 2, [0, 2], 2)).token_ids
    assert shared == alone


def test_a_prefix_of_the_same_step_is_refused() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    with pytest.raises(AssertionError, match=r"block 0 does not hold positions \[0, 4\) of 'b'"):
        execute(
            runner,
            ScheduledRequest(make_request("a"), 0, 6, [0, 1], 2),
            ScheduledRequest(make_request("b"), 4, 2, [0, 2], 2),
        )


def test_a_block_given_to_two_is_refused() -> None:
    runner = FakeRunner(block_size=8, vocab_size=50)
    with pytest.raises(AssertionError, match="block 3 is written by two"):
        execute(
            runner,
            ScheduledRequest(make_request("a"), 0, 6, [3], 1),
            ScheduledRequest(make_request("b"), 0, 6, [3], 1),
        )


def test_new_blocks_that_were_not_told_are_refused() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    request = make_request("a")
    execute(runner, ScheduledRequest(request, 0, 4, [0], 1))
    with pytest.raises(AssertionError, match=r"the runner was told of \[0\]"):
        execute(runner, ScheduledRequest(request, 4, 2, [0, 1], 0))


def test_a_released_request_starts_anew() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    request = make_request("a")
    (first,) = execute(runner, ScheduledRequest(request, 0, 6, [0, 1], 2)).token_ids
    again = ScheduledRequest(request, 4, 2, [0, 3], 2)
    assert execute(runner, again, released=("a",)).token_ids == [first]


def test_positions_beyond_the_blocks_or_tokens_are_refused() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    with pytest.raises(AssertionError, match=r"'a' cannot compute \[0, 6\)"):
        execute(runner, ScheduledRequest(make_request("a"), 0, 6, [0], 1))
    with pytest.raises(AssertionError, match=r"'b' cannot compute \[0, 7\)"):
        execute(runner, ScheduledRequest(make_request("b"), 0, 7, [0, 1], 2))
