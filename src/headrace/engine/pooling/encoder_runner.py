"""The runner of encoder-only models, through transformers' own modeling code.

A prompt attends to all of itself at once: nothing is kept between steps but its tokens, and there
is no KV cache. The scheduler may divide a prompt over steps; it is computed in the step that has
its last token. So a step computes at most its token budget and one more prompt.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headrace.core.generation.pooling import Pooling, PoolingParams
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.grammar.token_masks import TokenMasks
from headrace.engine.pooling.heads import Head, to_result
from headrace.scheduler.output import (
    AdmittedRequest,
    EntryResult,
    RunnerOutput,
    SchedulerOutput,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NO_PARAMS = SamplingParams(max_tokens=1)
_MAX_PADDING = 1.5
"""A batch's longest sequence over its shortest one."""


class EncoderRunner:
    """The `Runner` of an encoder. Requests are computed in padded batches of similar lengths."""

    def __init__(
        self,
        model: "PreTrainedModel",
        head: Head,
        pooling: Pooling | None,
        max_padded_tokens: int,
    ) -> None:
        """pooling: None where the model gives logits itself. max_padded_tokens: of one batch."""
        self.model = model
        self._head = head
        self._pooling = pooling
        self._max_padded_tokens = max_padded_tokens
        self._requests: dict[str, AdmittedRequest] = {}
        accepted = inspect.signature(model.forward).parameters
        has_types = getattr(model.config, "type_vocab_size", 1) > 1
        self._takes_types = has_types and "token_type_ids" in accepted
        self.weight_bytes = sum(weight.nbytes for weight in model.parameters())

    @property
    def attention_name(self) -> str:
        return f"transformers, {self.model.config._attn_implementation}"

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Compute a short sequence once, before the first request."""
        self._compute([AdmittedRequest("warm-up", [0, 0], [], _NO_PARAMS, 0, 0, frozenset())])

    @torch.inference_mode()
    def execute(
        self, step: SchedulerOutput, masks: Callable[[], TokenMasks] | None = None
    ) -> RunnerOutput:
        """masks: not called, because requests for vectors have no grammar."""
        for request_id in step.released:
            self._requests.pop(request_id, None)
        for request in step.admitted:
            self._requests[request.request_id] = request
        places = [place for place, entry in enumerate(step.scheduled) if entry.needs_sample]
        requests = {place: self._requests[step.scheduled[place].request_id] for place in places}
        results: list[EntryResult | None] = [None] * len(step.scheduled)
        for batch in self._batches(requests):
            rows = self._compute([requests[place] for place in batch])
            for place, row in zip(batch, rows, strict=True):
                vector = self._head(row, requests[place].pooling or PoolingParams())
                results[place] = to_result(vector)
        return RunnerOutput(results)

    def _batches(self, requests: dict[int, AdmittedRequest]) -> Iterator[list[int]]:
        """The places by length, so that little is padded."""
        batch: list[int] = []
        shortest = 0
        by_length = sorted(requests, key=lambda place: len(requests[place].prompt_token_ids))
        for place in by_length:
            length = len(requests[place].prompt_token_ids)
            is_full = length * (len(batch) + 1) > self._max_padded_tokens
            if batch and (is_full or length > shortest * _MAX_PADDING):
                yield batch
                batch = []
            if not batch:
                shortest = length
            batch.append(place)
        if batch:
            yield batch

    def _compute(self, requests: list[AdmittedRequest]) -> Tensor:
        """[S, H] pooled hidden states, or [S, labels] logits; float32."""
        inputs = self._inputs(requests)
        if self._pooling is None:
            logits: Tensor = self.model(**inputs).logits
            return logits.float()
        hidden: Tensor = self.model(**inputs).last_hidden_state
        return _pool(self._pooling, hidden.float(), inputs["attention_mask"])

    def _inputs(self, requests: list[AdmittedRequest]) -> dict[str, Tensor]:
        """Padded at the end: [S, L] int64 each."""
        lengths = [len(request.prompt_token_ids) for request in requests]
        shape = (len(requests), max(lengths))
        padding = getattr(self.model.config, "pad_token_id", None) or 0
        token_ids = torch.full(shape, padding, dtype=torch.int64)
        mask = torch.zeros(shape, dtype=torch.int64)
        types = torch.zeros(shape, dtype=torch.int64)
        for row, (request, length) in enumerate(zip(requests, lengths, strict=True)):
            token_ids[row, :length] = torch.tensor(request.prompt_token_ids)
            mask[row, :length] = 1
            second = None if request.pooling is None else request.pooling.second_start
            if second is not None:
                types[row, second:length] = 1
        inputs: dict[str, Any] = {"input_ids": token_ids, "attention_mask": mask}
        if self._takes_types:
            inputs["token_type_ids"] = types
        return {name: tensor.to(self.model.device) for name, tensor in inputs.items()}


def _pool(pooling: Pooling, hidden: Tensor, mask: Tensor) -> Tensor:
    """hidden: [S, L, H]; mask: [S, L], 1 for tokens and 0 for padding. Returns [S, H]."""
    match pooling:
        case "cls":
            return hidden[:, 0]
        case "last":
            last = mask.sum(dim=1) - 1
            return hidden[torch.arange(len(hidden), device=hidden.device), last]
        case "mean":
            return (hidden * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
