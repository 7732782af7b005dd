"""LoRA adapters against PEFT's own forward pass, in float32."""

import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from headrace.models.adapters.adapter_set import AdapterSet
from headrace.models.decoder import Decoder
from headrace.models.ops.cpu_low_rank import PackedLowRank
from headrace.testing.models.decoder_steps import Slice, compute, load_decoder
from headrace.testing.models.tiny_adapters import write_tiny_adapter
from headrace.testing.models.tiny_families import TinyArchitecture
from headrace.testing.models.tiny_gguf import write_tiny_gguf
from headrace.testing.models.tiny_models import VOCAB_SIZE, write_tiny_model

LENGTH = 60
BLOCKS = [7, 3, 11, 20]


@dataclass(frozen=True)
class Variant:
    """An adapter of a tiny model."""

    architecture: TinyArchitecture
    changes: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return "-".join([self.architecture, *(name for name, _ in self.changes)])


PATTERNS = (
    ("rank_pattern", {"layers.0.self_attn.q_proj": 9, "down_proj": 1}),
    ("alpha_pattern", {"model.layers.1.mlp.up_proj": 3, "v_proj": 20}),
)
VARIANTS = [
    Variant("llama"),
    Variant("llama", (("use_rslora", True), ("r", 40))),
    Variant("llama", PATTERNS),
    Variant("llama", (("target_modules", ["k_proj", "up_proj"]),)),
    Variant("llama", (("target_modules", ["q_proj", "o_proj"]), ("layers_to_transform", [1]))),
    Variant("qwen3", (("r", 256),)),
    Variant("gpt2"),
    Variant("gemma2"),
    Variant("phi3"),
    Variant("opt"),
    Variant("gptneox"),
    Variant("olmo2"),
    Variant("stablelm"),
    Variant("starcoder2"),
    Variant("cohere"),
    Variant("mixtral", (("target_modules", ["q_proj", "k_proj", "v_proj", "o_proj"]),)),
]


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randint(VOCAB_SIZE, (LENGTH,), generator=torch.Generator().manual_seed(1))


def load_adapters(decoder: Decoder, *directories: Path) -> AdapterSet:
    adapters = AdapterSet(decoder, max_adapters=len(directories), max_rank=256)
    for index, directory in enumerate(directories):
        adapters.place(index + 1, adapters.read(directory))
    return adapters


def logits_of(model: Any, tokens: Tensor) -> Tensor:
    """[LENGTH, vocab] by transformers and PEFT."""
    with torch.inference_mode():
        logits: Tensor = model(tokens[None]).logits[0]
    return logits


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert (ours - theirs).abs().max() < 1e-4


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_logits_are_those_of_peft(variant: Variant, tmp_path: Path, tokens: Tensor) -> None:
    decoder = load_decoder(write_tiny_model(tmp_path / "model", variant.architecture))
    plain = compute(decoder, [Slice(tokens, 0, LENGTH, BLOCKS)])[0]
    adapted = write_tiny_adapter(
        tmp_path / "adapter", variant.architecture, **dict(variant.changes)
    )
    expected = logits_of(adapted, tokens)
    assert (expected - plain).abs().max() > 0.05  # the adapter changes the outcome

    slot = load_adapters(decoder, tmp_path / "adapter").slot_of(1)
    prefill = compute(decoder, [Slice(tokens, 0, LENGTH - 3, BLOCKS, slot)])[0]
    decodes = [
        compute(decoder, [Slice(tokens, end - 1, end, BLOCKS, slot)])[0]
        for end in range(LENGTH - 2, LENGTH + 1)
    ]
    assert_same(torch.cat([prefill, *decodes]), expected)


@pytest.mark.parametrize("architecture", ["llama", "phi3", "gptneox", "cohere"])
def test_a_gguf_model_takes_the_adapters_of_its_model(
    architecture: TinyArchitecture, tmp_path: Path, tokens: Tensor
) -> None:
    decoder = load_decoder(write_tiny_gguf(tmp_path / "tiny.gguf", architecture))
    expected = logits_of(write_tiny_adapter(tmp_path / "adapter", architecture), tokens)
    slot = load_adapters(decoder, tmp_path / "adapter").slot_of(1)
    assert_same(compute(decoder, [Slice(tokens, 0, LENGTH, BLOCKS, slot)])[0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_does_not_depend_on_the_adapters_of_the_others(
    dtype: torch.dtype, tmp_path: Path, tokens: Tensor
) -> None:
    decoder = load_decoder(write_tiny_model(tmp_path / "model"), dtype)
    plain = compute(decoder, [Slice(tokens, 0, LENGTH, BLOCKS)])[0]
    write_tiny_adapter(tmp_path / "all", r=5)
    write_tiny_adapter(tmp_path / "some", seed=1, r=12, target_modules=["v_proj", "gate_proj"])
    adapters = load_adapters(decoder, tmp_path / "all", tmp_path / "some")
    slots = [None, adapters.slot_of(1), adapters.slot_of(2)]
    alone = [compute(decoder, [Slice(tokens, 0, LENGTH, BLOCKS, slot)])[0] for slot in slots]

    tables = [[0, 1, 2, 4], [5, 6, 8, 9], [10, 12, 13, 14], [15, 16, 17, 18]]
    order = [slots[1], None, slots[2], slots[1]]
    starts = [LENGTH - 1, 17, 30, 41]
    prefixes = zip(starts, tables, order, strict=True)
    compute(decoder, [Slice(tokens, 0, start, table, slot) for start, table, slot in prefixes])
    rests = zip(starts, tables, order, strict=True)
    mixed = compute(
        decoder, [Slice(tokens, start, LENGTH, table, slot) for start, table, slot in rests]
    )

    assert torch.equal(alone[0], plain)
    assert not torch.equal(alone[1], plain)
    assert not torch.equal(alone[1], alone[2])
    for part, start, slot in zip(mixed, starts, order, strict=True):
        assert torch.equal(part, alone[slots.index(slot)][start:])


def test_a_removed_adapter_leaves_nothing(tmp_path: Path, tokens: Tensor) -> None:
    decoder = load_decoder(write_tiny_model(tmp_path / "model"))
    plain = compute(decoder, [Slice(tokens, 0, LENGTH, BLOCKS)])[0]
    write_tiny_adapter(tmp_path / "adapter")
    adapters = load_adapters(decoder, tmp_path / "adapter", tmp_path / "adapter")
    adapters.remove(2)
    slot = adapters.slot_of(1)
    num_bytes = adapters.num_bytes
    adapter = adapters.read(tmp_path / "adapter")
    adapters.place(3, adapter)
    low_rank = adapter.low_ranks[0][1]
    assert isinstance(low_rank, PackedLowRank)
    tiles = weakref.ref(low_rank.b)
    del adapter, low_rank
    assert tiles() is not None
    adapters.remove(1)
    adapters.remove(3)
    assert tiles() is None
    assert (num_bytes > 0, adapters.num_bytes) == (True, 0)
    assert torch.equal(compute(decoder, [Slice(tokens, 0, LENGTH, BLOCKS, slot)])[0], plain)
    adapters.place(2, adapters.read(tmp_path / "adapter"))
