"""Decode steps on a CUDA device, replayed from CUDA graphs."""

import torch
from torch import Tensor

from headrace.engine.execution.cuda_graphs import Buffers, DecodeGraphs, decode_sizes
from headrace.engine.execution.input_batch import StepArrays
from headrace.models.attention.base import PagedBatch
from headrace.models.decoder import Decoder


class GraphedDecode:
    """Graphs for steps in which every request computes one token.

    Create it in inference mode, after the cache is allocated and the rotary tables are set.
    """

    def __init__(self, decoder: Decoder, max_num_seqs: int, max_model_len: int) -> None:
        self._decoder = decoder
        self._max_model_len = max_model_len
        self._max_blocks = -(-max_model_len // decoder.attention.spec.block_size)
        self._graphs = DecodeGraphs(self._forward, decode_sizes(max_num_seqs), self._make_buffers)

    def fits(self, arrays: StepArrays) -> bool:
        """Whether a captured graph fits this step."""
        return arrays.max_query_len == 1 and len(arrays.token_ids) <= self._graphs.max_batch_size

    def logits(self, arrays: StepArrays) -> Tensor:
        """[S, vocab], overwritten by the next call."""
        inputs = {
            "token_ids": arrays.token_ids,
            "positions": arrays.positions,
            "slots": arrays.slots,
            "context_lens": arrays.context_lens,
            "block_tables": arrays.block_tables,
        }
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        return self._graphs.run(len(arrays.token_ids), tensors)

    def _forward(self, buffers: Buffers) -> Tensor:
        size = len(buffers["token_ids"])
        batch = PagedBatch(
            query_starts=buffers["query_starts"],
            context_lens=buffers["context_lens"],
            block_tables=buffers["block_tables"],
            positions=buffers["positions"],
            slots=buffers["slots"],
            num_seqs=size,
            num_tokens=size,
            max_query_len=1,
            max_context_len=self._max_model_len,
        )
        self._decoder.attention.begin_step(batch)
        return self._decoder.logits(self._decoder.forward(buffers["token_ids"]))

    def _make_buffers(self, size: int) -> Buffers:
        device = self._decoder.ops.device

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=device)

        return {
            "token_ids": torch.zeros(size, dtype=torch.int64, device=device),
            "positions": zeros(size),
            "slots": zeros(size),
            "context_lens": zeros(size),
            "block_tables": zeros(size, self._max_blocks),
            "query_starts": torch.arange(size + 1, dtype=torch.int32, device=device),
        }
