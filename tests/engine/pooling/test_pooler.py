"""Pooling over chunks: however prompts are divided, mixed and started over."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.generation.pooling import Pooling
from headrace.engine.pooling.pooler import Pooler
from headrace.scheduler.output import ScheduledRequest

HIDDEN = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
POOLINGS: tuple[Pooling, ...] = ("last", "mean", "cls")


def entry(request_id: str, start: int, end: int, length: int) -> ScheduledRequest:
    return ScheduledRequest(request_id, start, end - start, [], [], needs_sample=end == length)


def expected(pooling: Pooling, length: int) -> torch.Tensor:
    rows = HIDDEN[:length]
    return {"last": rows[-1], "mean": rows.mean(dim=0), "cls": rows[0]}[pooling]


@given(
    pooling=st.sampled_from(POOLINGS),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    data=st.data(),
)
def test_chunks_give_what_the_whole_prompt_gives(
    pooling: Pooling, lengths: list[int], data: st.DataObject
) -> None:
    pooler = Pooler(pooling)
    done = [0] * len(lengths)
    while any(start < length for start, length in zip(done, lengths, strict=True)):
        step = []
        for place, length in enumerate(lengths):
            if done[place] == length:
                continue
            if done[place] and data.draw(st.booleans(), "preempted"):
                pooler.release([str(place)])
                done[place] = 0
            end = data.draw(st.integers(done[place] + 1, length), "end of the chunk")
            step.append(entry(str(place), done[place], end, length))
            done[place] = end
        hidden = torch.cat([HIDDEN[each.start : each.start + each.num_tokens] for each in step])
        for each, row in zip(step, pooler.pool(hidden, step), strict=True):
            assert (row is not None) == each.needs_sample
            if row is not None:
                torch.testing.assert_close(row, expected(pooling, each.start + each.num_tokens))
    pooler.release(map(str, range(len(lengths))))
    assert not pooler._kept
