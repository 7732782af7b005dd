"""The offline interface on a CUDA device, from a directory to tokens."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from headrace import LLM, SamplingParams

VOCAB_SIZE = 128
NUM_OUTPUT_TOKENS = 16


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama in Hugging Face's layout."""
    directory: Path = tmp_path_factory.mktemp("tiny-llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    words = {f"w{i}": i for i in range(VOCAB_SIZE)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w2"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="w0", eos_token="w1", unk_token="w2"
    ).save_pretrained(directory)
    return directory


@pytest.mark.parametrize("enforce_eager", [True, False])
def test_greedy_tokens_equal_transformers(model_dir: Path, enforce_eager: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    prompts = [
        torch.randint(3, VOCAB_SIZE, (length,), generator=generator).tolist()
        for length in (3, 17, 40, 64, 90)
    ]
    llm = LLM(
        str(model_dir),
        device="cuda",
        dtype="float32",
        kv_cache_memory="64MiB",
        max_num_batched_tokens=64,
        enforce_eager=enforce_eager,
    )
    params = SamplingParams(temperature=0, max_tokens=NUM_OUTPUT_TOKENS, ignore_eos=True)
    outputs = llm.generate(prompts, params, use_tqdm=False)

    model = LlamaForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    for prompt, output in zip(prompts, outputs, strict=True):
        token_ids = list(prompt)
        with torch.inference_mode():
            for _ in range(NUM_OUTPUT_TOKENS):
                logits = model(torch.tensor([token_ids])).logits[0, -1]
                token_ids.append(int(logits.argmax()))
        assert output.outputs[0].token_ids == token_ids[len(prompt) :]
