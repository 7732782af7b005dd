"""Families without a decoder of our own: transformers' code with paged attention, against
transformers alone, however sequences are divided into steps."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from headrace.core.errors import UnsupportedModelError
from headrace.models.attention.base import PagedBatch
from headrace.models.loaders.checkpoint import open_checkpoint
from headrace.models.loaders.huggingface.transformers_config import describe_model
from headrace.models.rope import rotary_tables
from headrace.models.sources.files import ModelFiles
from headrace.models.transformers.build import load_decoder
from headrace.models.transformers.causal_lm import TransformersDecoder
from headrace.testing.models.tiny_models import randomize_vectors

BLOCK_SIZE = 16
NUM_BLOCKS = 32
LENGTH = 90
VOCAB_SIZE = 128

SHAPE: Mapping[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

SERVED: Mapping[str, Mapping[str, Any]] = {
    # Norms after the layers, a window in one of two layers
    "Olmo3": {"sliding_window": 24, "layer_types": ["sliding_attention", "full_attention"]},
    # Half of each head rotates, in interleaved pairs
    "Glm": {},
    # No rotation in layers without a window
    "Exaone4": {
        "sliding_window": 24,
        "sliding_window_pattern": 2,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "Nemotron": {},
    # Experts
    "FlexOlmo": {"num_experts": 4, "num_experts_per_tok": 2},
    # A variant of a family of ours that our decoder does not compute
    "Phi": {"qk_layernorm": True},
    # Scores are scaled and soft-capped
    "VaultGemma": {"attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 5, "sliding_window": 24},
}
REFUSED: Mapping[str, Mapping[str, Any]] = {
    "Mamba": {},
    "T5": {},
    "Bloom": {"n_layer": 2, "n_head": 4},
    # Attention sinks, in a variant that our decoder does not compute
    "GptOss": {"num_local_experts": 2, "num_experts_per_tok": 1, "swiglu_limit": 5.0},
}


def build(name: str, **changes: Any) -> Any:
    import transformers

    kind = "TextConfig" if name == "Llama4" else "Config"
    config = getattr(transformers, f"{name}{kind}")(**{**SHAPE, **changes})
    kind = "ForConditionalGeneration" if name == "T5" else "ForCausalLM"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}{kind}")(config)
        randomize_vectors(model)
    return model.eval()


def write(name: str, directory: Path, changes: Mapping[str, Any]) -> ModelFiles:
    build(name, **changes).save_pretrained(directory)
    return ModelFiles(name=name, format="huggingface", path=directory)


def load(files: ModelFiles) -> TransformersDecoder:
    checkpoint = open_checkpoint(files)
    assert checkpoint.transformers_why is not None
    device = torch.device("cpu")
    decoder = load_decoder(
        files.path, checkpoint.config, BLOCK_SIZE, torch.float32, device, thread_pool=None
    )
    decoder.attention.allocate(NUM_BLOCKS)
    config = decoder.config
    decoder.set_rotary(rotary_tables(config.rope, config.head_dim, 256))
    return decoder


@pytest.fixture(scope="module", params=SERVED)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def decoder(name: str, tmp_path_factory: pytest.TempPathFactory) -> TransformersDecoder:
    return load(write(name, tmp_path_factory.mktemp(name), SERVED[name]))


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.randint(VOCAB_SIZE, (LENGTH,), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def expected(name: str, tokens: Tensor) -> Tensor:
    model = build(name, attn_implementation="eager", **SERVED[name])
    with torch.inference_mode():
        logits: Tensor = model(tokens[None], use_cache=False).logits[0]
    assert logits.std() > 0.1  # otherwise everything would agree
    return logits


Part = tuple[Tensor, int, int, list[int]]
"""The tokens [start, end) of a sequence in these blocks."""


@torch.inference_mode()
def compute(decoder: TransformersDecoder, *parts: Part) -> list[Tensor]:
    """One step; the logits of each part."""
    counts = [end - start for _, start, end, _ in parts]
    rows = [(blocks, place) for _, start, end, blocks in parts for place in range(start, end)]
    width = max(len(blocks) for *_, blocks in parts)
    decoder.attention.begin_step(
        PagedBatch(
            query_starts=int32([sum(counts[:index]) for index in range(len(counts) + 1)]),
            context_lens=int32([end for _, _, end, _ in parts]),
            block_tables=int32([blocks + [0] * (width - len(blocks)) for *_, blocks in parts]),
            positions=int32([place for _, place in rows]),
            slots=int32(
                [
                    blocks[place // BLOCK_SIZE] * BLOCK_SIZE + place % BLOCK_SIZE
                    for blocks, place in rows
                ]
            ),
            num_seqs=len(parts),
            num_tokens=len(rows),
            max_query_len=max(counts),
            max_context_len=max(end for _, _, end, _ in parts),
        )
    )
    token_ids = torch.cat([tokens[start:end] for tokens, start, end, _ in parts])
    return list(decoder.logits(decoder.forward(token_ids)).clone().split(counts))


def int32(values: list[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_one_prefill(decoder: TransformersDecoder, tokens: Tensor, expected: Tensor) -> None:
    [ours] = compute(decoder, (tokens, 0, LENGTH, [7, 3, 11, 2, 9, 5]))
    assert_same(ours, expected)


def test_chunked_prefill_then_decode(
    decoder: TransformersDecoder, tokens: Tensor, expected: Tensor
) -> None:
    stops = [0, 7, 39, 40, 79, *range(86, LENGTH + 1)]
    blocks = [4, 12, 1, 8, 10, 6]
    parts = [compute(decoder, (tokens, start, end, blocks))[0] for start, end in pairwise(stops)]
    assert_same(torch.cat(parts), expected)


def test_requests_of_one_step_do_not_see_each_other(
    decoder: TransformersDecoder, tokens: Tensor, expected: Tensor
) -> None:
    first, second, third = list(range(6)), list(range(6, 12)), list(range(12, 18))
    reverse = tokens.flip(0)
    compute(decoder, (tokens, 0, 80, first), (reverse, 0, 33, second))
    decode, _, prefill = compute(
        decoder, (tokens, 80, 81, first), (reverse, 33, 60, second), (tokens, 0, 50, third)
    )
    assert_same(decode, expected[80:81])
    assert_same(prefill, expected[:50])


def test_a_prefix_computed_by_another_sequence_is_reused(
    decoder: TransformersDecoder, tokens: Tensor, expected: Tensor
) -> None:
    shared, num_shared = [5, 2, 9], 3 * BLOCK_SIZE
    other = torch.cat([tokens[:num_shared], tokens.flip(0)[: LENGTH - num_shared]])
    compute(decoder, (other, 0, LENGTH, [*shared, 20, 21, 22]))
    [ours] = compute(decoder, (tokens, num_shared, LENGTH, [*shared, 24, 25, 26]))
    assert_same(ours, expected[num_shared:])


@pytest.mark.parametrize("refused", REFUSED)
def test_what_paged_attention_cannot_compute_is_refused(refused: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError):
        load(write(refused, tmp_path, REFUSED[refused]))


@pytest.mark.parametrize(
    ("other", "changes"),
    [
        # Its class reads a part of its net
        ("OPT", {"ffn_dim": 96, "word_embed_proj_dim": 64}),
        # A layer attends within chunks, which its mask alone says
        (
            "Llama4",
            {"num_local_experts": 2, "attention_chunk_size": 32, "intermediate_size_mlp": 96},
        ),
    ],
)
def test_a_class_that_is_built_otherwise_is_refused(
    other: str, changes: Mapping[str, Any], tmp_path: Path
) -> None:
    files = write(other, tmp_path, changes)
    config = describe_model(files.path, has_output_layer=True)
    device = torch.device("cpu")
    with pytest.raises(UnsupportedModelError):
        load_decoder(files.path, config, BLOCK_SIZE, torch.float32, device, thread_pool=None)


def test_a_type_that_transformers_does_not_have_is_refused(tmp_path: Path) -> None:
    files = write("Glm", tmp_path, {})
    text = (tmp_path / "config.json").read_text()
    text = text.replace('"glm"', '"nobodys"').replace("GlmForCausalLM", "NobodysForCausalLM")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UnsupportedModelError):
        open_checkpoint(files)
