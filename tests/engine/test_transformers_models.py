"""A family without a decoder of our own, from its files to tokens and vectors."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.llm import LLM
from headrace.models.sources.files import ModelFiles
from headrace.testing.models.tiny_models import VOCAB_SIZE, randomize_vectors
from headrace.testing.models.tiny_tokenizer import BOS_TOKEN_ID, EOS_TOKEN_ID, write_tokenizer
from headrace.testing.models.vectors import start, vectors

PROMPTS = [[5, 6, 7], [30, 31, 32, 33, 34] * 8, [9]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    from transformers import GlmConfig, GlmForCausalLM

    directory: Path = tmp_path_factory.mktemp("glm")
    config = GlmConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=128,
        initializer_range=0.2,
        pad_token_id=EOS_TOKEN_ID,
        bos_token_id=BOS_TOKEN_ID,
        eos_token_id=EOS_TOKEN_ID,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = GlmForCausalLM(config).eval()
        randomize_vectors(model)
    model.save_pretrained(directory)
    write_tokenizer(directory, VOCAB_SIZE, 128)
    return ModelFiles(name="glm", format="huggingface", path=directory)


def test_greedy_tokens_are_those_of_transformers(files: ModelFiles) -> None:
    from transformers import AutoModelForCausalLM

    llm = LLM(
        str(files.path),
        dtype="float32",
        num_threads=1,
        kv_cache_memory="4MiB",
        max_num_batched_tokens=16,
    )
    settings = {name: why for name, _, why in llm.ready.settings}
    assert "transformers" in settings["architecture"]
    params = SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True)
    outputs = llm.generate(PROMPTS, params, use_tqdm=False)
    reference = AutoModelForCausalLM.from_pretrained(files.path)
    for prompt, output in zip(PROMPTS, outputs, strict=True):
        known = list(prompt)
        for _ in range(12):
            with torch.inference_mode():
                known.append(int(reference(torch.tensor([known])).logits[0, -1].argmax()))
        assert output.outputs[0].token_ids == known[len(prompt) :]


def test_its_hidden_states_make_embeddings(files: ModelFiles) -> None:
    from transformers import AutoModel

    started = start(files, task="embed", pooling_type="mean", max_num_batched_tokens=16)
    reference = AutoModel.from_pretrained(files.path)
    for prompt, vector in zip(PROMPTS, vectors(started, PROMPTS), strict=True):
        with torch.inference_mode():
            row = reference(torch.tensor([prompt])).last_hidden_state[0].mean(dim=0).numpy()
        np.testing.assert_allclose(vector, row / np.linalg.norm(row), atol=1e-4)
