import pytest

from headrace.core.generation.sampling_params import SamplingParams
from headrace.scheduler.output import (
    AdmittedRequest,
    RunnerOutput,
    SampledTokens,
    ScheduledRequest,
    SchedulerOutput,
)
from headrace.testing.fakes.fake_runner import FakeRunner

PROMPT = [1, 2, 3, 4, 5, 6]


def admit(request_id: str, logprobs: int | None = None) -> AdmittedRequest:
    params = SamplingParams(logprobs=logprobs)
    return AdmittedRequest(request_id, PROMPT, [], params, 0, 0, frozenset())


def entry(
    request_id: str,
    start: int,
    num_tokens: int,
    new_block_ids: list[int],
    new_token_ids: list[int] | None = None,
) -> ScheduledRequest:
    new_token_ids = new_token_ids or []
    needs_sample = start + num_tokens == len(PROMPT) + len(new_token_ids)
    return ScheduledRequest(
        request_id, start, num_tokens, new_block_ids, new_token_ids, needs_sample
    )


def execute(
    runner: FakeRunner,
    *entries: ScheduledRequest,
    admitted: list[AdmittedRequest] | None = None,
    released: tuple[str, ...] = (),
) -> RunnerOutput:
    return runner.execute(SchedulerOutput(list(entries), admitted or [], list(released)))


def drawn(output: RunnerOutput) -> list[SampledTokens]:
    return [result for result in output.results if isinstance(result, SampledTokens)]


def test_only_the_last_chunk_samples_and_matches_the_reference() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    assert execute(runner, entry("a", 0, 4, [2]), admitted=[admit("a")]).results == [None]
    (first,) = drawn(execute(runner, entry("a", 4, 2, [0])))
    (second,) = drawn(execute(runner, entry("a", 6, 1, [], first.token_ids)))
    assert first.token_ids + second.token_ids == runner.reference(PROMPT, 2)
    assert (runner.num_steps, runner.num_tokens) == (3, 7)


def test_the_next_token_can_be_scripted() -> None:
    runner = FakeRunner(block_size=8, vocab_size=50, next_token=len)
    (result,) = drawn(execute(runner, entry("a", 0, 6, [0]), admitted=[admit("a")]))
    assert result.token_ids == [6]
    assert runner.reference([1, 2, 3], 3) == [3, 4, 5]


def test_logprobs_are_returned_as_requested() -> None:
    runner = FakeRunner(block_size=8, vocab_size=50)
    without, with_two = drawn(
        execute(
            runner,
            entry("a", 0, 6, [0]),
            entry("b", 0, 6, [1]),
            admitted=[admit("a"), admit("b", logprobs=2)],
        )
    )
    assert without.logprobs is None
    assert with_two.logprobs is not None
    (logprobs,) = with_two.logprobs
    assert logprobs.token_id == logprobs.top[0][0] == with_two.token_ids[0]
    assert len(logprobs.top) == 2


def test_a_prefix_computed_by_an_earlier_step_can_be_shared() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    alone = execute(runner, entry("a", 0, 6, [0, 1]), admitted=[admit("a")])
    shared = execute(runner, entry("b", 4, 2, [0, 2]), admitted=[admit("b")])
    assert shared == alone


def test_a_prefix_of_the_same_step_is_refused() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    with pytest.raises(AssertionError, match=r"block 0 does not hold positions \[0, 4\) of 'b'"):
        execute(
            runner,
            entry("a", 0, 6, [0, 1]),
            entry("b", 4, 2, [0, 2]),
            admitted=[admit("a"), admit("b")],
        )


def test_a_block_allocated_twice_is_refused() -> None:
    runner = FakeRunner(block_size=8, vocab_size=50)
    with pytest.raises(AssertionError, match="block 3 is written by two"):
        execute(
            runner,
            entry("a", 0, 6, [3]),
            entry("b", 0, 6, [3]),
            admitted=[admit("a"), admit("b")],
        )


def test_new_blocks_that_were_not_sent_are_refused() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    execute(runner, entry("a", 0, 4, [0]), admitted=[admit("a")])
    with pytest.raises(AssertionError, match=r"'a' cannot compute \[4, 6\)"):
        execute(runner, entry("a", 4, 2, []))


def test_a_released_request_id_can_be_reused() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    first = execute(runner, entry("a", 0, 6, [0, 1]), admitted=[admit("a")])
    again = entry("a", 4, 2, [0, 3])
    assert execute(runner, again, admitted=[admit("a")], released=("a",)) == first


def test_a_request_must_be_released_before_it_is_sent_again() -> None:
    runner = FakeRunner(block_size=8, vocab_size=50)
    execute(runner, entry("a", 0, 6, [0]), admitted=[admit("a")])
    with pytest.raises(AssertionError, match="'a' is sent again"):
        execute(runner, entry("a", 0, 6, [1]), admitted=[admit("a")])


def test_positions_beyond_the_blocks_or_tokens_are_refused() -> None:
    runner = FakeRunner(block_size=4, vocab_size=50)
    with pytest.raises(AssertionError, match=r"'a' cannot compute \[0, 6\)"):
        execute(runner, entry("a", 0, 6, [0]), admitted=[admit("a")])
    with pytest.raises(AssertionError, match=r"'b' cannot compute \[0, 7\)"):
        execute(runner, entry("b", 0, 7, [0, 1]), admitted=[admit("b")])
