"""A decoder computed step by step, without an engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from headrace.models.attention.base import PagedBatch
from headrace.models.attention.factory import create_attention
from headrace.models.decoder import Decoder, attention_spec
from headrace.models.loaders.checkpoint import open_checkpoint
from headrace.models.ops.base import AdapterRows
from headrace.models.ops.factory import create_ops
from headrace.models.rope import layer_rotary_tables
from headrace.models.sources.files import ModelFiles

BLOCK_SIZE = 16
NUM_BLOCKS = 40
MAX_LEN = 160


def load_decoder(files: ModelFiles, dtype: torch.dtype = torch.float32) -> Decoder:
    """On the CPU, with a cache of NUM_BLOCKS."""
    checkpoint = open_checkpoint(files)
    config = checkpoint.config
    spec = attention_spec(config, BLOCK_SIZE, dtype, torch.device("cpu"))
    decoder = Decoder(config, create_ops(spec.dtype, spec.device), create_attention(spec))
    decoder.load(checkpoint.weights)
    decoder.attention.allocate(NUM_BLOCKS)
    decoder.set_rotary(layer_rotary_tables(config, MAX_LEN))
    return decoder


@dataclass(frozen=True)
class Slice:
    """The tokens [start, end) of a sequence in these blocks."""

    tokens: Tensor
    start: int
    end: int
    blocks: Sequence[int]
    slot: int | None = None
    """Its adapter's; None: it has none."""


@torch.inference_mode()
def compute(decoder: Decoder, slices: Sequence[Slice]) -> list[Tensor]:
    """One step; the logits of each slice, [end - start, vocab]."""
    counts = [part.end - part.start for part in slices]
    positions = [list(range(part.start, part.end)) for part in slices]
    slots = [
        part.blocks[position // BLOCK_SIZE] * BLOCK_SIZE + position % BLOCK_SIZE
        for part, own in zip(slices, positions, strict=True)
        for position in own
    ]
    width = max(len(part.blocks) for part in slices)
    tables = [[*part.blocks, *[0] * (width - len(part.blocks))] for part in slices]
    starts = [sum(counts[:i]) for i in range(len(counts) + 1)]
    decoder.attention.begin_step(
        PagedBatch(
            query_starts=_int32(starts),
            context_lens=_int32([part.end for part in slices]),
            block_tables=_int32(tables),
            positions=_int32([position for own in positions for position in own]),
            slots=_int32(slots),
            num_seqs=len(slices),
            num_tokens=sum(counts),
            max_query_len=max(counts),
            max_context_len=max(part.end for part in slices),
        )
    )
    decoder.ops.begin_step(
        [
            AdapterRows(part.slot, start, end)
            for part, (start, end) in zip(slices, pairwise(starts), strict=True)
            if part.slot is not None
        ]
    )
    token_ids = torch.cat([part.tokens[part.start : part.end] for part in slices])
    logits = decoder.logits(decoder.forward(token_ids)).float().clone()
    return list(torch.split(logits, counts))


def _int32(values: list[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)
