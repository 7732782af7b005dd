"""Each family served from its files: the greedy tokens of LLM are those of transformers."""

from pathlib import Path

import pytest
import torch

from headrace import LLM, SamplingParams
from headrace.testing.models.tiny_families import FAMILIES, TinyArchitecture
from headrace.testing.models.tiny_gguf import write_tiny_gguf
from headrace.testing.models.tiny_models import build_tiny_model, write_tiny_model

NEW_FAMILIES = [
    name for name in FAMILIES if name not in ("llama", "llama3", "mistral", "qwen2", "qwen3")
]
"""The others have tests of their own."""
PROMPTS = ["what is the name of the channel", "the wheel"]
NUM_TOKENS = 8


@pytest.mark.parametrize("architecture", NEW_FAMILIES)
def test_greedy_tokens_are_those_of_transformers(
    architecture: TinyArchitecture, tmp_path: Path
) -> None:
    write_tiny_model(tmp_path, architecture)
    llm = LLM(str(tmp_path), dtype="float32", max_model_len=64, kv_cache_memory="4MiB")
    params = SamplingParams(max_tokens=NUM_TOKENS, temperature=0.0, ignore_eos=True)
    model = build_tiny_model(architecture)
    for output in llm.generate(PROMPTS, params, use_tqdm=False):
        assert output.prompt_token_ids is not None
        token_ids = list(output.prompt_token_ids)
        for ours in output.outputs[0].token_ids:
            with torch.inference_mode():
                logits = model(torch.tensor([token_ids])).logits[0, -1]
            assert logits[ours] >= logits.max() - 1e-4
            token_ids.append(ours)
        assert len(token_ids) == len(output.prompt_token_ids) + NUM_TOKENS


def test_gpt2_and_gemma_are_served_from_gguf(tmp_path: Path) -> None:
    for architecture in ("gpt2", "gemma3"):
        path = tmp_path / f"{architecture}.gguf"
        write_tiny_gguf(path, architecture)
        write_tiny_model(tmp_path / architecture, architecture)
        llms = [
            LLM(str(source), dtype="float32", max_model_len=64, kv_cache_memory="4MiB")
            for source in (path, tmp_path / architecture)
        ]
        params = SamplingParams(max_tokens=NUM_TOKENS, temperature=0.0, ignore_eos=True)
        ours, theirs = (
            [list(output.outputs[0].token_ids) for output in llm.generate(PROMPTS, params, False)]
            for llm in llms
        )
        assert ours == theirs
