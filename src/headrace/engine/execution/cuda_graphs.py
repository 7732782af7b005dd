"""Captures a step into CUDA graphs, one per batch size, and replays the smallest that fits.

The step is a callable that reads the given buffers.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from headrace.core.errors import KernelError

Buffers = Mapping[str, Tensor]
Forward = Callable[[Buffers], Tensor]
Replay = Callable[[], None]


@dataclass(frozen=True, slots=True)
class CapturedStep:
    """A captured forward: ``replay`` computes it on the current content of the buffers."""

    replay: Replay
    output: Tensor
    """Where every replay writes its result: [size, ...]."""


Capture = Callable[[Callable[[], Tensor]], CapturedStep]


class DecodeGraphs:
    """Replays decode steps, without Python or launch overhead between their kernels.

    A step of b sequences runs in the graph of the next size n >= b. Rows [b, n) of every input are
    zeros, which must be harmless: to attention, an empty context is padding. Inputs that a step
    omits keep the values from ``make_buffers`` (query_starts, which is always 0, 1, 2, ...).
    """

    def __init__(
        self,
        forward: Forward,
        sizes: Sequence[int],
        make_buffers: Callable[[int], Buffers],
        capture: Capture | None = None,
    ) -> None:
        """Capture every size, largest first: the smaller ones fit into its memory.

        forward: reads the buffers of one size n and gives [n, ...]; it must not wait for the
            device, and its choices may depend on n alone.
        make_buffers: the input tensors of a step of n sequences, made once for each size.
        capture: how to capture, for tests without a device.
        """
        capture = capture or CudaCapture()
        self._sizes = sorted(set(sizes))
        self._buffers: dict[int, Buffers] = {}
        self._steps: dict[int, CapturedStep] = {}
        for size in reversed(self._sizes):
            buffers = make_buffers(size)
            self._buffers[size] = buffers
            self._steps[size] = capture(partial(forward, buffers))

    @property
    def max_batch_size(self) -> int:
        """Larger batches must be computed without a graph."""
        return self._sizes[-1] if self._sizes else 0

    def run(self, batch_size: int, inputs: Buffers) -> Tensor:
        """The first batch_size rows of forward's result; the next ``run`` overwrites them.

        inputs: by the names of the buffers, [batch_size, ...], on any device; further dimensions
        may be smaller than the buffer's (a block table cut to the longest context).
        """
        if not 0 < batch_size <= self.max_batch_size:
            raise KernelError(
                f"CUDA graphs were captured for up to {self.max_batch_size} sequences, "
                f"not for {batch_size}. Compute this step without a graph."
            )
        size = self._sizes[bisect_left(self._sizes, batch_size)]
        buffers = self._buffers[size]
        for name, rows in inputs.items():
            _fill(buffers[name], rows)
        step = self._steps[size]
        step.replay()
        return step.output[:batch_size]


def decode_sizes(max_num_seqs: int) -> list[int]:
    """Batch sizes to capture: powers of two up to 16, then multiples of 16, and the largest."""
    sizes = {1, 2, 4, 8, *range(16, max_num_seqs, 16), max_num_seqs}
    return sorted(size for size in sizes if size <= max_num_seqs)


class CudaCapture:
    """Captures into CUDA graphs that share one memory pool, as only one of them runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Callable[[], Tensor]) -> CapturedStep:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()  # one-time compilation and allocation must not be captured
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = step()
        return CapturedStep(replay=graph.replay, output=output)


def _fill(buffer: Tensor, rows: Tensor) -> None:
    """Copy rows to the front of the buffer and set the rest to zero."""
    front = buffer[: len(rows)]
    for dim in range(1, rows.dim()):
        front = front.narrow(dim, 0, rows.shape[dim])
    front.copy_(rows, non_blocking=True)
    buffer[len(rows) :].zero_()
