"""The runner of a decoder that gives vectors: pools hidden states in place of sampling."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from headrace.core.generation.pooling import PoolingParams
from headrace.engine.execution.input_batch import StepArrays
from headrace.engine.execution.model_runner import ModelRunner
from headrace.engine.grammar.token_masks import TokenMasks
from headrace.engine.pooling.heads import Head, to_result
from headrace.engine.pooling.pooler import Pooler
from headrace.engine.request_state import RequestState
from headrace.models.decoder import Decoder
from headrace.scheduler.output import (
    EntryResult,
    RunnerOutput,
    ScheduledRequest,
    SchedulerOutput,
)


class PoolingRunner(ModelRunner):
    """A prompt may come in chunks; its vector comes with the last one."""

    def __init__(
        self, decoder: Decoder, weight_bytes: int, max_num_seqs: int, pooler: Pooler, head: Head
    ) -> None:
        super().__init__(decoder, weight_bytes, max_num_seqs, graphs=False)
        self._pooler = pooler
        self._head = head

    @torch.inference_mode()
    def execute(
        self, step: SchedulerOutput, masks: Callable[[], TokenMasks] | None = None
    ) -> RunnerOutput:
        """masks: not called, because requests for vectors have no grammar."""
        self._pooler.release(step.released)
        entries, states = step.scheduled, self._inputs.apply(step)
        if not entries:
            return RunnerOutput([])
        hidden = self._hidden(self._inputs.build(entries, states))
        return RunnerOutput(self._pool(hidden, entries, states))

    def _logits(self, arrays: StepArrays) -> Tensor:
        """Overrides the output layer, which is not loaded: what warm_up computes."""
        return self._decoder.final_norm(self._hidden(arrays))

    def _pool(
        self, hidden: Tensor, entries: list[ScheduledRequest], states: Sequence[RequestState]
    ) -> list[EntryResult | None]:
        if self._pooler.pooling == "last" and not any(entry.needs_sample for entry in entries):
            return [None] * len(entries)
        pooled = self._pooler.pool(self._decoder.final_norm(hidden), entries)
        return [
            None if row is None else to_result(self._head(row, state.pooling or PoolingParams()))
            for row, state in zip(pooled, states, strict=True)
        ]
