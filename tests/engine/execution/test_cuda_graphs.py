"""Sizes and padding of DecodeGraphs, with a capture that needs no device."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from headrace.core.errors import KernelError
from headrace.engine.execution.cuda_graphs import Buffers, CapturedStep, DecodeGraphs, decode_sizes


class RecordedSteps:
    """Captures by calling again on replay; records the number of rows of each call."""

    def __init__(self) -> None:
        self.num_rows: list[int] = []

    def capture(self, step: Callable[[], Tensor]) -> CapturedStep:
        output = step()
        return CapturedStep(replay=lambda: self._replay(step, output), output=output)

    def _replay(self, step: Callable[[], Tensor], output: Tensor) -> None:
        self.num_rows.append(len(output))
        output.copy_(step())


def make_buffers(size: int) -> Buffers:
    return {
        "token_ids": torch.zeros(size, dtype=torch.int64),
        "block_tables": torch.zeros(size, 4, dtype=torch.int32),
        "query_starts": torch.arange(size + 1),
    }


def forward(buffers: Buffers) -> Tensor:
    """Token, sum of the first two blocks, sum of all tokens and start: [n, 4]."""
    tokens, tables = buffers["token_ids"], buffers["block_tables"]
    return torch.stack(
        [
            tokens,
            tables[:, :2].sum(1),
            tokens.sum().expand_as(tokens),
            buffers["query_starts"][:-1],
        ],
        dim=1,
    )


@pytest.fixture
def steps() -> RecordedSteps:
    return RecordedSteps()


@pytest.fixture
def graphs(steps: RecordedSteps) -> DecodeGraphs:
    return DecodeGraphs(forward, [1, 4, 2], make_buffers, steps.capture)


def inputs(*tokens: int) -> Buffers:
    tables = torch.tensor([[token, 1] for token in tokens], dtype=torch.int32)
    return {"token_ids": torch.tensor(tokens), "block_tables": tables}


def test_the_next_captured_size_is_used(graphs: DecodeGraphs, steps: RecordedSteps) -> None:
    for batch_size in (1, 2, 3, 4):
        assert len(graphs.run(batch_size, inputs(*range(batch_size)))) == batch_size
    assert steps.num_rows == [1, 2, 4, 4]


def test_rows_past_the_batch_are_zeros(graphs: DecodeGraphs) -> None:
    graphs.run(4, inputs(10, 20, 30, 40))
    output = graphs.run(3, inputs(1, 2, 3))
    assert output.tolist() == [[1, 2, 6, 0], [2, 3, 6, 1], [3, 4, 6, 2]]


def test_sizes_that_were_not_captured_are_refused(graphs: DecodeGraphs) -> None:
    assert graphs.max_batch_size == 4
    for batch_size in (0, 5):
        with pytest.raises(KernelError, match="4"):
            graphs.run(batch_size, {})


@pytest.mark.parametrize(
    ("max_num_seqs", "sizes"),
    [
        (1, [1]),
        (3, [1, 2, 3]),
        (16, [1, 2, 4, 8, 16]),
        (40, [1, 2, 4, 8, 16, 32, 40]),
        (64, [1, 2, 4, 8, 16, 32, 48, 64]),
    ],
)
def test_decode_sizes(max_num_seqs: int, sizes: list[int]) -> None:
    assert decode_sizes(max_num_seqs) == sizes
