"""The arrays of a step represent the scheduler's lists."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.execution.input_batch import InputBatch, StepArrays
from headrace.scheduler.output import AdmittedRequest, ScheduledRequest, SchedulerOutput

BLOCK_SIZE = 4


def tokens_of(request_id: str, num_tokens: int) -> list[int]:
    return [100 * int(request_id) + i for i in range(num_tokens)]


def admitted(request_id: str, num_tokens: int) -> AdmittedRequest:
    tokens = tokens_of(request_id, num_tokens)
    return AdmittedRequest(request_id, tokens, [], SamplingParams(), 0, 0, frozenset())


def entry(
    request_id: str, start: int, num_tokens: int, blocks: list[int], needs_sample: bool = False
) -> ScheduledRequest:
    return ScheduledRequest(request_id, start, num_tokens, blocks, [], needs_sample)


def build(
    batch: InputBatch,
    entries: list[ScheduledRequest],
    admitted: list[AdmittedRequest] | None = None,
    released: list[str] | None = None,
) -> StepArrays:
    step = SchedulerOutput(entries, admitted or [], released or [])
    return batch.build(entries, batch.apply(step))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=6))
def test_every_token_has_its_id_position_and_slot(shares: list[tuple[int, int]]) -> None:
    entries, requests, next_block = [], [], 0
    for index, (start, count) in enumerate(shares):
        num_blocks = -(-(start + count) // BLOCK_SIZE)
        blocks = list(range(next_block, next_block + num_blocks))
        next_block += num_blocks
        requests.append(admitted(str(index), start + count + 1))
        entries.append(entry(str(index), start, count, blocks))
    arrays = build(InputBatch(8, 10, BLOCK_SIZE), entries, requests)
    token = 0
    for index, each in enumerate(entries):
        assert arrays.query_starts[index] == token
        assert arrays.context_lens[index] == each.start + each.num_tokens
        for position in range(each.start, each.start + each.num_tokens):
            block = each.new_block_ids[position // BLOCK_SIZE]
            assert arrays.token_ids[token] == requests[index].prompt_token_ids[position]
            assert arrays.positions[token] == position
            assert arrays.slots[token] == block * BLOCK_SIZE + position % BLOCK_SIZE
            token += 1
    assert arrays.query_starts[-1] == token
    assert len(arrays.logit_rows) == 0  # each request above has one more token to compute


def test_only_rows_of_a_last_token_are_sampled() -> None:
    batch = InputBatch(2, 4, BLOCK_SIZE)
    entries = [entry("1", 0, 3, [5], needs_sample=True), entry("2", 0, 4, [6])]
    arrays = build(batch, entries, [admitted("1", 3), admitted("2", 9)])
    assert arrays.logit_rows.tolist() == [2]


def test_new_blocks_extend_the_table_and_rows_are_reused() -> None:
    batch = InputBatch(1, 4, BLOCK_SIZE)
    build(batch, [entry("1", 0, 4, [7])], [admitted("1", 8)])
    arrays = build(batch, [entry("1", 4, 4, [3])])
    assert arrays.block_tables.tolist() == [[7, 3]]
    arrays = build(batch, [entry("2", 0, 8, [1, 2])], [admitted("2", 8)], ["1", "never seen"])
    assert arrays.block_tables.tolist() == [[1, 2]]


def test_a_resumed_request_has_all_its_blocks() -> None:
    batch = InputBatch(1, 4, BLOCK_SIZE)
    build(batch, [entry("1", 0, 8, [7, 3])], [admitted("1", 8)])
    arrays = build(batch, [entry("1", 4, 4, [2, 6])], [admitted("1", 8)], ["1"])
    assert arrays.block_tables.tolist() == [[2, 6]]


def test_new_tokens_extend_the_output() -> None:
    batch = InputBatch(1, 4, BLOCK_SIZE)
    request = AdmittedRequest("1", [5, 6], [7], SamplingParams(), 0, 0, frozenset())
    assert build(batch, [entry("1", 0, 3, [0])], [request]).token_ids.tolist() == [5, 6, 7]
    step = SchedulerOutput([ScheduledRequest("1", 3, 2, [1], [8, 9], needs_sample=True)])
    (state,) = batch.apply(step)
    assert batch.build(step.scheduled, [state]).token_ids.tolist() == [8, 9]
    assert (state.token_ids, state.num_output_tokens) == ([5, 6, 7, 8, 9], 3)
