"""The decoder on the CPU against transformers, for every family and any division into steps."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from headrace.models.decoder import Decoder
from headrace.testing.models.decoder_steps import (
    BLOCK_SIZE,
    NUM_BLOCKS,
    Slice,
    compute,
    load_decoder,
)
from headrace.testing.models.tiny_families import FAMILIES, LONGROPE, TinyArchitecture
from headrace.testing.models.tiny_gguf import write_tiny_gguf
from headrace.testing.models.tiny_models import (
    VOCAB_SIZE,
    build_tiny_model,
    write_tiny_model,
)

LENGTH = 90
"""Longer than tiny Mistral's window, and than tiny Llama 3's original context."""


@dataclass(frozen=True)
class Variant:
    """A tiny model and what is changed of its config."""

    architecture: TinyArchitecture
    changes: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        changes = (
            name if isinstance(value, dict) else f"{name}={value}" for name, value in self.changes
        )
        return "-".join([self.architecture, *changes])


GEMMA3_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e5, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e3},
}

GEMMA3_ROPE_OF_GGUF = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e5, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}

VARIANTS = [
    Variant("llama"),
    Variant("llama", (("tie_word_embeddings", True),)),
    Variant("llama", (("attention_bias", True), ("mlp_bias", True))),
    Variant("llama", (("hidden_act", "gelu"),)),
    Variant("llama3"),
    Variant("mistral"),
    Variant("mistral", (("sliding_window", None),)),
    Variant("qwen2"),
    Variant(
        "qwen2", (("use_sliding_window", True), ("sliding_window", 24), ("max_window_layers", 1))
    ),
    Variant("qwen3"),
    Variant("qwen3", (("attention_bias", True), ("tie_word_embeddings", True))),
    Variant("gpt2"),
    Variant("gpt2", (("n_inner", None), ("activation_function", "gelu"))),
    Variant("gemma"),
    Variant("gemma2"),
    Variant("gemma2", (("query_pre_attn_scalar", 11), ("final_logit_softcapping", None))),
    Variant("gemma3"),
    Variant("gemma3", (("rope_parameters", GEMMA3_ROPE),)),
    Variant("phi3"),
    Variant("phi3", tuple(LONGROPE.items())),
    Variant("phi3", (*LONGROPE.items(), ("original_max_position_embeddings", 256))),
    Variant("opt"),
    Variant("opt", (("enable_bias", False), ("activation_function", "relu2"))),
    Variant("gptneox"),
    Variant("gptneox", (("use_parallel_residual", False), ("attention_bias", False))),
    Variant("phi"),
    Variant("phi", (("hidden_act", "quick_gelu"),)),
    Variant("olmo2"),
    Variant("granite"),
    Variant("smollm3"),
    Variant("smollm3", (("no_rope_layers", [0, 1]), ("num_hidden_layers", 2))),
    Variant("stablelm"),
    Variant("stablelm", (("use_qkv_bias", True), ("qk_layernorm", True))),
    Variant("stablelm", (("use_parallel_residual", True),)),
    Variant("starcoder2"),
    Variant("starcoder2", (("use_bias", False), ("sliding_window", 24))),
    Variant("cohere"),
    Variant("cohere", (("use_qk_norm", True),)),
    Variant("cohere2"),
    Variant("mixtral"),
    Variant("mixtral", (("sliding_window", 24), ("num_experts_per_tok", 1))),
    Variant("qwen2_moe"),
    Variant("qwen2_moe", (("norm_topk_prob", True), ("mlp_only_layers", [0]))),
    Variant("qwen3_moe"),
    Variant("qwen3_moe", (("norm_topk_prob", False), ("decoder_sparse_step", 2))),
    Variant("olmoe"),
    Variant("granite_moe"),
    Variant("gpt_oss"),
]


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    found: Variant = request.param
    return found


@pytest.fixture(scope="module")
def decoder(variant: Variant, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    directory = tmp_path_factory.mktemp("model")
    return load_decoder(write_tiny_model(directory, variant.architecture, **dict(variant.changes)))


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randint(VOCAB_SIZE, (LENGTH,), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def expected(variant: Variant, tokens: Tensor) -> Tensor:
    """[LENGTH, vocab] by transformers."""
    return expected_logits(variant, tokens)


def expected_logits(variant: Variant, tokens: Tensor) -> Tensor:
    # Written out, for its attention over a window is the plainest.
    changes = {**dict(variant.changes), "attn_implementation": "eager"}
    model = build_tiny_model(variant.architecture, **changes)
    with torch.inference_mode():
        logits: Tensor = model(tokens[None]).logits[0]
    return logits


def scattered_blocks(seed: int) -> list[int]:
    """Enough blocks for a sequence, in no order."""
    order = torch.randperm(NUM_BLOCKS, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[: -(-LENGTH // BLOCK_SIZE)]


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.std() > 0.1  # otherwise everything would agree
    assert (ours - theirs).abs().max() < 1e-4


def test_one_prefill(decoder: Decoder, tokens: Tensor, expected: Tensor) -> None:
    (ours,) = compute(decoder, [Slice(tokens, 0, LENGTH, scattered_blocks(0))])
    assert_same(ours, expected)


def test_chunked_prefill_then_decode(decoder: Decoder, tokens: Tensor, expected: Tensor) -> None:
    blocks = scattered_blocks(1)
    stops = [0, 7, 39, 40, 79, *range(86, LENGTH + 1)]
    parts = [
        compute(decoder, [Slice(tokens, start, end, blocks)])[0] for start, end in pairwise(stops)
    ]
    assert_same(torch.cat(parts), expected)


def test_prefill_and_decode_in_one_step(decoder: Decoder, tokens: Tensor, expected: Tensor) -> None:
    order = list(range(NUM_BLOCKS))
    first, second, third = order[:6], order[6:12], order[12:18]
    reverse = tokens.flip(0)
    compute(decoder, [Slice(tokens, 0, 80, first), Slice(reverse, 0, 33, second)])
    ours = compute(
        decoder,
        [
            Slice(tokens, 80, 81, first),
            Slice(reverse, 33, 60, second),
            Slice(tokens, 0, 50, third),
        ],
    )
    assert_same(ours[0], expected[80:81])
    assert_same(ours[2], expected[:50])


def test_a_prefix_computed_by_another_sequence_is_reused(
    decoder: Decoder, tokens: Tensor, expected: Tensor
) -> None:
    shared, num_shared = [5, 2, 9], 3 * BLOCK_SIZE
    other = torch.cat([tokens[:num_shared], tokens.flip(0)[: LENGTH - num_shared]])
    compute(decoder, [Slice(other, 0, LENGTH, [*shared, 20, 21, 22])])
    (ours,) = compute(decoder, [Slice(tokens, num_shared, LENGTH, [*shared, 30, 31, 32])])
    assert_same(ours, expected[num_shared:])


GGUF_VARIANTS = [
    *(Variant(name) for name, family in FAMILIES.items() if family.gguf),
    Variant("gemma3", (("rope_parameters", GEMMA3_ROPE_OF_GGUF),)),
    Variant("phi3", tuple(LONGROPE.items())),
    Variant("gptneox", (("use_parallel_residual", False),)),
    Variant("stablelm", (("use_qkv_bias", True), ("qk_layernorm", True))),
    Variant("stablelm", (("use_parallel_residual", True),)),
    Variant("cohere", (("use_qk_norm", True),)),
]


@pytest.mark.parametrize("variant", GGUF_VARIANTS, ids=str)
def test_gguf_computes_the_same(variant: Variant, tmp_path: Path, tokens: Tensor) -> None:
    path = tmp_path / "tiny.gguf"
    decoder = load_decoder(write_tiny_gguf(path, variant.architecture, **dict(variant.changes)))
    (ours,) = compute(decoder, [Slice(tokens, 0, LENGTH, scattered_blocks(0))])
    assert_same(ours, expected_logits(variant, tokens))
