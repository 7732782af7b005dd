"""Executes a step: lays out its arrays, runs the decoder, samples the tokens.

Gets all it needs from `SchedulerOutput`: never reads the scheduler's objects.
"""

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.config import EngineConfig
from headrace.engine.execution.adapter_rows import order_by_adapter, rows_of_adapters
from headrace.engine.execution.graphed_decode import GraphedDecode
from headrace.engine.execution.input_batch import InputBatch, StepArrays
from headrace.engine.grammar.token_masks import TokenMasks
from headrace.engine.request_state import RequestState
from headrace.engine.sampling.mask import warm_up_masks
from headrace.engine.sampling.prompt_logprobs import PromptLogprobs
from headrace.engine.sampling.sampler import Sampler, SamplerOutput
from headrace.models.adapters.adapter_set import AdapterSet
from headrace.models.attention.base import PagedBatch
from headrace.models.attention.factory import create_attention
from headrace.models.decoder import Decoder, attention_spec
from headrace.models.loaders.checkpoint import Checkpoint
from headrace.models.ops.base import AdapterRows
from headrace.models.ops.factory import create_ops
from headrace.models.ops.torch_ops import TorchOps
from headrace.models.rope import layer_rotary_tables
from headrace.scheduler.output import (
    AdmittedRequest,
    EntryResult,
    FailedEntry,
    RunnerOutput,
    SampledTokens,
    ScheduledRequest,
    SchedulerOutput,
)

_WARM_UP_ADAPTER = -1
"""An id that no adapter has."""

Progress = Callable[[int, int], None]


def build_runner(
    checkpoint: Checkpoint,
    config: EngineConfig,
    dtype: torch.dtype,
    device: torch.device,
    num_threads: int,
    progress: Progress | None = None,
) -> "ModelRunner":
    """Load the weights and build the runner, without its KV cache."""
    decoder, weight_bytes = build_decoder(checkpoint, config, dtype, device, num_threads, progress)
    graphs = not config.enforce_eager and checkpoint.transformers_why is None
    adapters = None
    if config.enable_lora:
        adapters = AdapterSet(decoder, config.num_adapters, config.max_lora_rank)
    return ModelRunner(decoder, weight_bytes, config.max_num_seqs, graphs=graphs, adapters=adapters)


def build_decoder(
    checkpoint: Checkpoint,
    config: EngineConfig,
    dtype: torch.dtype,
    device: torch.device,
    num_threads: int,
    progress: Progress | None = None,
) -> tuple[Decoder, int]:
    """Load the weights; returns the decoder and the bytes that they take."""
    thread_pool = None
    if device.type == "cpu":
        from headrace.models.simd.thread_pool import ThreadPool

        thread_pool = ThreadPool(num_threads)
        torch.set_num_threads(num_threads)
    if checkpoint.transformers_why is not None:
        from headrace.models.transformers.build import load_decoder

        loaded = load_decoder(
            checkpoint.files.path, checkpoint.config, config.block_size, dtype, device, thread_pool
        )
        return loaded, loaded.weight_bytes
    spec = attention_spec(checkpoint.config, config.block_size, dtype, device)
    ops = create_ops(dtype, device, thread_pool)
    decoder = Decoder(checkpoint.config, ops, create_attention(spec, thread_pool))
    weight_bytes = decoder.load(checkpoint.weights, progress)
    if thread_pool is not None and not isinstance(ops, TorchOps):
        torch.set_num_threads(1)  # two thread pools would compete for the same cores
    return decoder, weight_bytes


class ModelRunner:
    """The `Runner` of a real model."""

    def __init__(
        self,
        decoder: Decoder,
        weight_bytes: int,
        max_num_seqs: int,
        *,
        graphs: bool = True,
        adapters: AdapterSet | None = None,
    ) -> None:
        """graphs: replay decode steps from CUDA graphs, on a CUDA device.
        adapters: those that requests may have; None: requests have none."""
        self._decoder = decoder
        self.adapters = adapters
        self._wants_graphs = graphs and decoder.ops.device.type == "cuda"
        self._graphs: GraphedDecode | None = None
        self._max_num_seqs = max_num_seqs
        self.weight_bytes = weight_bytes
        self._device = decoder.ops.device
        self._sampler = Sampler(decoder.config.vocab_size, self._device)
        self._prompt_logprobs = PromptLogprobs(
            decoder.config.vocab_size, self._sampler.max_group_rows
        )
        self._inputs = InputBatch(max_num_seqs, 0, decoder.attention.spec.block_size)
        self._has_adapters = False
        """Of the step that was begun last."""
        self._max_model_len = 0
        """Set by ``allocate``, as are the block tables of ``_inputs``."""

    @property
    def attention_name(self) -> str:
        return self._decoder.attention.name

    @property
    def block_bytes(self) -> int:
        """Bytes of one block of the KV cache."""
        return self._decoder.attention.block_bytes

    def activation_bytes(self, max_num_batched_tokens: int) -> int:
        """Upper estimate of the bytes of adapters and of a step, besides weights and KV cache."""
        config = self._decoder.config
        width = self._decoder.ops.dtype.itemsize
        heads = config.num_heads * config.head_dim
        is_fused = config.gated_mlp and config.activation == "silu"
        per_token = (
            4 * config.hidden_size * 2  # residual stream and a copy of it
            + width * config.hidden_size
            + 4 * config.qkv_size * 2
            + 2 * width * heads
            + (4 + width) * (2 if is_fused else 3) * config.intermediate_size
        )
        num_rows = max(self._max_num_seqs, self._sampler.max_group_rows)
        logits = 4 * config.vocab_size * num_rows
        adapters = 0 if self.adapters is None else self.adapters.reserved_bytes
        # Sorting needs as much as the logits again.
        return max_num_batched_tokens * per_token + 4 * logits + adapters

    def allocate(self, num_blocks: int, max_model_len: int) -> None:
        """Allocate the KV cache and all other memory that lasts between steps."""
        config = self._decoder.config
        self._decoder.attention.allocate(num_blocks)
        self._decoder.set_rotary(layer_rotary_tables(config, max_model_len))
        block_size = self._decoder.attention.spec.block_size
        max_blocks_per_seq = -(-max_model_len // block_size)
        self._inputs = InputBatch(self._max_num_seqs, max_blocks_per_seq, block_size)
        self._max_model_len = max_model_len

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Compile and touch everything once, on block 0, before the first request."""
        params = SamplingParams(max_tokens=1)
        adapter_id = 0
        if self.adapters is not None:
            adapter_id = _WARM_UP_ADAPTER
            self.adapters.place(adapter_id, self.adapters.zeros())
        request = AdmittedRequest(
            "warm-up", [0, 0, 0], [], params, 0, 0, frozenset(), adapter_id=adapter_id
        )
        prefill = ScheduledRequest("warm-up", 0, 2, [0], [], needs_sample=False)
        decode = ScheduledRequest("warm-up", 2, 1, [], [], needs_sample=True)
        for step in (SchedulerOutput([prefill], [request]), SchedulerOutput([decode])):
            states = self._inputs.apply(step)
            self._begin_step(step.scheduled, states)
            logits = self._logits(self._inputs.build(step.scheduled, states))
        warm_up_masks(logits)
        self._inputs.apply(SchedulerOutput(released=["warm-up"]))
        self._begin_step([], [])
        if self.adapters is not None:
            self.adapters.remove(adapter_id)
        if self._wants_graphs:
            self._graphs = GraphedDecode(self._decoder, self._max_num_seqs, self._max_model_len)

    @torch.inference_mode()
    def execute(
        self, step: SchedulerOutput, masks: Callable[[], TokenMasks] | None = None
    ) -> RunnerOutput:
        self._sampler.release(step.released)
        self._prompt_logprobs.apply(step)
        entries, states = step.scheduled, self._inputs.apply(step)
        if not entries:
            return RunnerOutput([])
        if self._inputs.num_with_adapters == 0:
            self._begin_step(entries, states)
            return self._compute(entries, states, masks)
        order = order_by_adapter(entries, states)
        entries, states = [entries[place] for place in order], [states[place] for place in order]
        self._begin_step(entries, states)
        output = self._compute(entries, states, masks)
        results = dict(zip(order, output.results, strict=True))
        return RunnerOutput([results[place] for place in range(len(order))], output.prompt_logprobs)

    def _begin_step(self, entries: list[ScheduledRequest], states: list[RequestState]) -> None:
        """Set which rows have adapters."""
        rows: list[AdapterRows] = []
        if self.adapters is not None and self._inputs.num_with_adapters:
            rows = rows_of_adapters(entries, states, self.adapters)
        self._has_adapters = bool(rows)
        self._decoder.ops.begin_step(rows)

    def _compute(
        self,
        entries: list[ScheduledRequest],
        states: list[RequestState],
        masks: Callable[[], TokenMasks] | None,
    ) -> RunnerOutput:
        """One step of at least one request; its results are in the order of the entries."""
        arrays = self._inputs.build(entries, states)
        prompt_logprobs = {}
        if self._prompt_logprobs.are_wanted:
            hidden = self._hidden(arrays)
            prompt_logprobs = self._prompt_logprobs.compute(
                entries, states, hidden, self._decoder.logits
            )
            logits = self._decoder.logits(hidden[self._place(arrays.logit_rows)])
        else:
            logits = self._logits(arrays)
        sampled = [
            state for entry, state in zip(entries, states, strict=True) if entry.needs_sample
        ]
        if not sampled:
            return RunnerOutput([None] * len(entries), prompt_logprobs)
        token_masks = None if masks is None else masks()
        results = _results(entries, self._sampler.sample(logits, sampled, token_masks))
        return RunnerOutput(results, prompt_logprobs)

    def _logits(self, arrays: StepArrays) -> Tensor:
        """[R, vocab_size], for the rows from which a token is sampled."""
        rows = self._place(arrays.logit_rows)
        graphs = None if self._has_adapters else self._graphs  # captured without adapters
        if graphs is not None and graphs.fits(arrays):
            return graphs.logits(arrays)[rows]
        return self._decoder.logits(self._hidden(arrays)[rows])

    def _hidden(self, arrays: StepArrays) -> Tensor:
        """What the decoder's ``forward`` gives for every token of the step."""
        self._decoder.attention.begin_step(self._paged_batch(arrays))
        return self._decoder.forward(self._place(arrays.token_ids))

    def _paged_batch(self, arrays: StepArrays) -> PagedBatch:
        return PagedBatch(
            query_starts=self._place(arrays.query_starts),
            context_lens=self._place(arrays.context_lens),
            block_tables=self._place(arrays.block_tables),
            positions=self._place(arrays.positions),
            slots=self._place(arrays.slots),
            num_seqs=len(arrays.context_lens),
            num_tokens=len(arrays.token_ids),
            max_query_len=arrays.max_query_len,
            max_context_len=arrays.max_context_len,
        )

    def _place(self, array: npt.NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor if self._device.type == "cpu" else tensor.to(self._device, non_blocking=True)


def _results(entries: list[ScheduledRequest], sampled: SamplerOutput) -> list[EntryResult | None]:
    """The sampler's rows as one result for each entry."""
    results: list[EntryResult | None] = []
    row = 0
    for entry in entries:
        if not entry.needs_sample:
            results.append(None)
            continue
        if sampled.failures and entry.request_id in sampled.failures:
            results.append(FailedEntry(sampled.failures[entry.request_id]))
        else:
            logprobs = sampled.logprobs[row]
            results.append(
                SampledTokens([sampled.token_ids[row]], None if logprobs is None else [logprobs])
            )
        row += 1
    return results
