"""The decoder on a CUDA device: against transformers, and replayed from graphs."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from headrace.engine.execution.cuda_graphs import Buffers, DecodeGraphs
from headrace.models.attention.base import AttentionSpec, PagedBatch
from headrace.models.attention.factory import create_attention
from headrace.models.config import DecoderConfig
from headrace.models.decoder import Decoder
from headrace.models.ops.factory import create_ops
from headrace.models.rope import rotary_tables

DEVICE = torch.device("cuda")
BLOCK_SIZE = 16
MAX_LEN = 256
MAX_BLOCKS = MAX_LEN // BLOCK_SIZE
VOCAB_SIZE = 199
SHAPES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": MAX_LEN,
    "tie_word_embeddings": False,
    "initializer_range": 0.2,
}


@dataclass
class DictReader:
    """A WeightReader of a state dict."""

    weights: dict[str, Tensor]

    def names(self) -> Iterable[str]:
        return self.weights

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        return self.weights[name].to(dtype)


@pytest.fixture(params=["llama", "qwen3"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    if request.param == "llama":
        return LlamaForCausalLM(LlamaConfig(**SHAPES)).eval()
    return Qwen3ForCausalLM(Qwen3Config(**SHAPES)).eval()


def load(model: PreTrainedModel, dtype: torch.dtype) -> Decoder:
    theirs = model.config
    config = DecoderConfig(
        architecture="test",
        vocab_size=theirs.vocab_size,
        hidden_size=theirs.hidden_size,
        intermediate_size=theirs.intermediate_size,
        num_layers=theirs.num_hidden_layers,
        num_heads=theirs.num_attention_heads,
        num_kv_heads=theirs.num_key_value_heads,
        head_dim=theirs.head_dim,
        max_position=MAX_LEN,
        norm_eps=theirs.rms_norm_eps,
        qk_norm="rms_head" if isinstance(model, Qwen3ForCausalLM) else None,
    )
    spec = AttentionSpec(
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        block_size=BLOCK_SIZE,
        dtype=dtype,
        device=DEVICE,
        windows=(None,) * config.num_layers,
    )
    decoder = Decoder(config, create_ops(dtype, DEVICE), create_attention(spec))
    decoder.load(DictReader({name: w.detach() for name, w in model.state_dict().items()}))
    decoder.attention.allocate(4 * MAX_BLOCKS)
    decoder.set_rotary(rotary_tables(config.rope, config.head_dim, MAX_LEN))
    return decoder


@pytest.fixture
def prompts() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(VOCAB_SIZE, (n,), generator=generator) for n in (70, 5, 33)]


def logits_by_step(decoder: Decoder, prompts: list[Tensor]) -> list[Tensor]:
    """Each prompt's logits, [length, vocab]: two uneven chunks, then three decodes."""
    steps = [[0, len(p) // 2, len(p) - 3, len(p) - 2, len(p) - 1, len(p)] for p in prompts]
    collected: list[list[Tensor]] = [[] for _ in prompts]
    for i in range(len(steps[0]) - 1):
        ranges = [(stops[i], stops[i + 1]) for stops in steps]
        tokens = torch.cat([p[start:end] for p, (start, end) in zip(prompts, ranges, strict=True)])
        decoder.attention.begin_step(batch_of(ranges))
        rows = decoder.logits(decoder.forward(tokens.to(DEVICE))).float().cpu()
        counts = [end - start for start, end in ranges]
        for part, chunk in zip(collected, rows.split(counts), strict=True):
            part.append(chunk)
    return [torch.cat(parts) for parts in collected]


def batch_of(ranges: list[tuple[int, int]]) -> PagedBatch:
    """Sequence s has the blocks [s * MAX_BLOCKS, (s + 1) * MAX_BLOCKS)."""
    positions = [p for start, end in ranges for p in range(start, end)]
    first_slots = [s * MAX_LEN for s, (start, end) in enumerate(ranges) for _ in range(start, end)]
    starts = [0]
    for start, end in ranges:
        starts.append(starts[-1] + end - start)
    return PagedBatch(
        query_starts=int32(starts),
        context_lens=int32([end for _, end in ranges]),
        block_tables=torch.arange(len(ranges) * MAX_BLOCKS, dtype=torch.int32, device=DEVICE).view(
            len(ranges), MAX_BLOCKS
        ),
        positions=int32(positions),
        slots=int32([first + p for first, p in zip(first_slots, positions, strict=True)]),
        num_seqs=len(ranges),
        num_tokens=len(positions),
        max_query_len=max(b - a for a, b in pairwise(starts)),
        max_context_len=max(end for _, end in ranges),
    )


def int32(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32, device=DEVICE)


@torch.inference_mode()
def test_logits_equal_transformers_in_float32(
    model: PreTrainedModel, prompts: list[Tensor]
) -> None:
    decoder = load(model, torch.float32)
    for prompt, ours in zip(prompts, logits_by_step(decoder, prompts), strict=True):
        theirs = model(prompt[None]).logits[0]
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_logits_are_close_to_transformers_in_half_precision(
    model: PreTrainedModel, prompts: list[Tensor], dtype: torch.dtype
) -> None:
    decoder = load(model, dtype)
    for prompt, ours in zip(prompts, logits_by_step(decoder, prompts), strict=True):
        theirs = model(prompt[None]).logits[0]
        assert (ours - theirs).std() < 0.05 * theirs.std()


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_replayed_graphs_equal_eager_steps(
    model: PreTrainedModel, prompts: list[Tensor], dtype: torch.dtype
) -> None:
    """Three sequences in a graph of four rows, while their contexts grow."""
    eager, replayed = load(model, dtype), load(model, dtype)

    def forward(buffers: Buffers) -> Tensor:
        size = len(buffers["token_ids"])
        replayed.attention.begin_step(
            PagedBatch(
                query_starts=buffers["query_starts"],
                context_lens=buffers["context_lens"],
                block_tables=buffers["block_tables"],
                positions=buffers["positions"],
                slots=buffers["slots"],
                num_seqs=size,
                num_tokens=size,
                max_query_len=1,
                max_context_len=MAX_LEN,
            )
        )
        return replayed.logits(replayed.forward(buffers["token_ids"]))

    graphs = DecodeGraphs(forward, [1, 2, 4], make_buffers)
    computed = [len(prompt) - 4 for prompt in prompts]
    for decoder in (eager, replayed):
        start = batch_of([(0, count) for count in computed])
        decoder.attention.begin_step(start)
        tokens = torch.cat([p[:count] for p, count in zip(prompts, computed, strict=True)])
        decoder.forward(tokens.to(DEVICE))
    for _ in range(4):
        batch = batch_of([(count, count + 1) for count in computed])
        tokens = torch.stack([p[count] for p, count in zip(prompts, computed, strict=True)])
        eager.attention.begin_step(batch)
        expected = eager.logits(eager.forward(tokens.to(DEVICE)))
        inputs = {
            "token_ids": tokens,
            "context_lens": batch.context_lens,
            "block_tables": batch.block_tables,
            "positions": batch.positions,
            "slots": batch.slots,
        }
        output = graphs.run(3, inputs)
        assert output.abs().sum() > 0
        # Shares of the context differ between the two, and rows of four may round otherwise.
        tolerance = 1e-4 if dtype == torch.float32 else 0.05 * expected.float().std().item()
        torch.testing.assert_close(output, expected, atol=tolerance, rtol=0.02)
        computed = [count + 1 for count in computed]


def make_buffers(size: int) -> Buffers:
    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int32, device=DEVICE)

    return {
        "token_ids": torch.zeros(size, dtype=torch.int64, device=DEVICE),
        "query_starts": torch.arange(size + 1, dtype=torch.int32, device=DEVICE),
        "context_lens": zeros(size),
        "block_tables": zeros(size, MAX_BLOCKS),
        "positions": zeros(size),
        "slots": zeros(size),
    }
