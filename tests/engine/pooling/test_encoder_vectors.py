"""Vectors of encoders against transformers, in batches of any lengths."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headrace.core.generation.pooling import PoolingParams
from headrace.testing.models.tiny_models import VOCAB_SIZE
from headrace.testing.models.tiny_pooling import TinyFamily, build_tiny_net, write_tiny_net
from headrace.testing.models.vectors import start, vectors

GENERATOR = torch.Generator().manual_seed(5)
PROMPTS = [
    torch.randint(2, VOCAB_SIZE, (length,), generator=GENERATOR).tolist()
    for length in (3, 50, 8, 9, 200, 51)
]


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
