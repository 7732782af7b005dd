"""The arrays of a step say, for every token, what the scheduler's lists say."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.request import Request
from headrace.core.sampling_params import SamplingParams
from headrace.engine.execution.input_batch import InputBatch
from headrace.scheduler.output import ScheduledRequest

BLOCK_SIZE = 4


def request(request_id: str, num_tokens: int) -> Request:
    tokens = [100 * int(request_id) + i for i in range(num_tokens)]
    return Request(request_id, tokens, SamplingParams(), 1, 0.0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=6))
def test_every_token_has_its_id_position_and_slot(shares: list[tuple[int, int]]) -> None:
    entries, next_block = [], 0
    for index, (start, count) in enumerate(shares):
        num_blocks = -(-(start + count) // BLOCK_SIZE)
        blocks = list(range(next_block, next_block + num_blocks))
        next_block += num_blocks
        entries.append(
            ScheduledRequest(request(str(index), start + count + 1), start, count, blocks, 0)
        )
    arrays = InputBatch(8, 10, BLOCK_SIZE).build(entries)
    token = 0
    for index, entry in enumerate(entries):
        assert arrays.query_starts[index] == token
        assert arrays.context_lens[index] == entry.start + entry.num_tokens
        for position in range(entry.start, entry.start + entry.num_tokens):
            block = entry.block_ids[position // BLOCK_SIZE]
            assert arrays.token_ids[token] == entry.request.token_ids[position]
            assert arrays.positions[token] == position
            assert arrays.slots[token] == block * BLOCK_SIZE + position % BLOCK_SIZE
            token += 1
    assert arrays.query_starts[-1] == token
    assert len(arrays.logit_rows) == 0  # each request above has one more token to come


def test_only_rows_that_reach_the_last_token_are_drawn_from() -> None:
    whole, part = request("1", 3), request("2", 9)
    arrays = InputBatch(2, 4, BLOCK_SIZE).build(
        [ScheduledRequest(whole, 0, 3, [5], 1), ScheduledRequest(part, 0, 4, [6], 1)]
    )
    assert arrays.logit_rows.tolist() == [2]


def test_new_blocks_extend_the_table_and_rows_are_used_again() -> None:
    batch = InputBatch(1, 4, BLOCK_SIZE)
    first, second = request("1", 8), request("2", 8)
    batch.build([ScheduledRequest(first, 0, 4, [7], 1)])
    arrays = batch.build([ScheduledRequest(first, 4, 4, [7, 3], 1)])
    assert arrays.block_tables.tolist() == [[7, 3]]
    batch.release(["1", "never seen"])
    arrays = batch.build([ScheduledRequest(second, 0, 8, [1, 2], 2)])
    assert arrays.block_tables.tolist() == [[1, 2]]


def test_a_request_that_resumes_brings_all_its_blocks() -> None:
    batch = InputBatch(1, 4, BLOCK_SIZE)
    resumed = request("1", 8)
    batch.build([ScheduledRequest(resumed, 0, 8, [7, 3], 2)])
    batch.release(["1"])
    arrays = batch.build([ScheduledRequest(resumed, 4, 4, [2, 6], 1)])
    assert arrays.block_tables.tolist() == [[2, 6]]
