"""Lays out a step as the flat arrays that the model computes on.

Keeps each running request's tokens and block table between steps, so that a step costs a few array
operations and little per request.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.engine.request_state import RequestState
from headrace.scheduler.output import ScheduledRequest, SchedulerOutput

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class StepArrays:
    """One step of S requests and T tokens; see PagedBatch for what each array means."""

    token_ids: npt.NDArray[np.int64]
    positions: Int32
    slots: Int32
    query_starts: Int32
    context_lens: Int32
    block_tables: Int32
    logit_rows: npt.NDArray[np.int64]
    """[R] the rows of T from which a token is sampled."""
    max_query_len: int
    max_context_len: int


class InputBatch:
    """The running requests, and their block tables [max_num_seqs, max_blocks_per_seq]."""

    def __init__(self, max_num_seqs: int, max_blocks_per_seq: int, block_size: int) -> None:
        self._tables = np.zeros((max_num_seqs, max_blocks_per_seq), np.int32)
        self._free_rows = list(range(max_num_seqs - 1, -1, -1))
        self._states: dict[str, RequestState] = {}
        self._block_size = block_size
        self.num_with_adapters = 0
        """Requests among them that have one."""

    def apply(self, step: SchedulerOutput) -> list[RequestState]:
        """Release, add and extend requests as the step says; returns the request of each entry."""
        for request_id in step.released:
            released = self._states.pop(request_id, None)
            if released is not None:
                self._free_rows.append(released.row)
                self.num_with_adapters -= released.adapter_id != 0
        for request in step.admitted:
            self._states[request.request_id] = RequestState.of(request, self._free_rows.pop())
            self.num_with_adapters += request.adapter_id != 0
        known = self._states
        states = []
        for entry in step.scheduled:
            state = known[entry.request_id]
            states.append(state)
            if entry.new_token_ids:
                state.token_ids += entry.new_token_ids
            if entry.new_block_ids:
                first = state.num_blocks
                state.num_blocks = first + len(entry.new_block_ids)
                self._tables[state.row, first : state.num_blocks] = entry.new_block_ids
        return states

    def build(self, entries: list[ScheduledRequest], states: list[RequestState]) -> StepArrays:
        """Lay out one step of at least one request.

        states: the requests of the entries, as ``apply`` returned them.
        """
        rows = np.fromiter((state.row for state in states), np.int64, len(entries))
        counts = np.fromiter((entry.num_tokens for entry in entries), np.int32, len(entries))
        starts = np.fromiter((entry.start for entry in entries), np.int32, len(entries))
        query_starts = np.zeros(len(entries) + 1, np.int32)
        np.cumsum(counts, out=query_starts[1:])
        context_lens = starts + counts

        seqs = np.repeat(np.arange(len(entries)), counts)  # [T] which request each token is of
        positions = np.arange(query_starts[-1], dtype=np.int32)
        positions += (starts - query_starts[:-1])[seqs]
        blocks = self._tables[rows[seqs], positions // self._block_size]
        slots = blocks * self._block_size + positions % self._block_size

        max_context_len = int(context_lens.max())
        num_blocks = -(-max_context_len // self._block_size)
        sampled = np.fromiter((entry.needs_sample for entry in entries), np.bool_, len(entries))
        return StepArrays(
            token_ids=_token_ids(entries, states),
            positions=positions,
            slots=slots.astype(np.int32),
            query_starts=query_starts,
            context_lens=context_lens.astype(np.int32),
            block_tables=np.ascontiguousarray(self._tables[rows, :num_blocks]),
            logit_rows=(query_starts[1:] - 1)[sampled].astype(np.int64),
            max_query_len=int(counts.max()),
            max_context_len=max_context_len,
        )


def _token_ids(
    entries: list[ScheduledRequest], states: list[RequestState]
) -> npt.NDArray[np.int64]:
    """[T] the tokens to compute, request after request."""
    token_ids: list[int] = []
    for entry, state in zip(entries, states, strict=True):
        tokens = state.token_ids
        if entry.num_tokens == 1:
            token_ids.append(tokens[entry.start])
        else:
            token_ids.extend(tokens[entry.start : entry.start + entry.num_tokens])
    return np.array(token_ids, np.int64)
