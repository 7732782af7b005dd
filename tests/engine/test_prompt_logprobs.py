"""Log-probabilities of prompts against transformers', however the prompt is computed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from headrace import LLM, SamplingParams
from headrace.core.errors import InvalidParameterError
from headrace.core.generation.outputs import FinishReason, RequestOutput
from headrace.testing.models.tiny_models import VOCAB_SIZE, build_tiny_model, write_tiny_model

PROMPTS = [[(7 * place + 31 * number) % 300 for place in range(50)] for number in range(4)]
SCORED = SamplingParams(max_tokens=8, temperature=0.0, ignore_eos=True, prompt_logprobs=3)
PLAIN = SCORED.replace(prompt_logprobs=None)
BLOCK_BYTES = 2 * 2 * 2 * 16 * 4 * 4
"""Layers, keys and values, heads, head_dim, bytes, positions."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    write_tiny_model(path)
    return path


@pytest.fixture(scope="module")
def reference() -> Iterator[list[torch.Tensor]]:
    """Transformers' log-probabilities [50, V] of each prompt."""
    model = build_tiny_model()
    with torch.inference_mode():
        yield [model(torch.tensor([each])).logits[0].log_softmax(-1) for each in PROMPTS]


def make_llm(directory: Path, **options: object) -> LLM:
    return LLM(str(directory), dtype="float32", max_model_len=64, block_size=4, **options)


def check(output: RequestOutput, expected: torch.Tensor) -> None:
    prompt, entries = output.prompt_token_ids, output.prompt_logprobs
    assert entries is not None
    assert entries[0] is None
    assert len(entries) == len(prompt)
    for position, entry in enumerate(entries[1:]):
        assert entry is not None
        row = expected[position]
        assert entry.token_id == prompt[position + 1]
        assert entry.logprob == pytest.approx(row[entry.token_id].item(), abs=1e-4)
        assert entry.rank == pytest.approx(1 + int((row > row[entry.token_id]).sum()), abs=1)
        best = row.topk(3).values.tolist()
        assert [logprob for _, logprob in entry.top] == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_num_batched_tokens": 7},
        {"max_num_batched_tokens": 1},
        {"enable_prefix_caching": False},
        {"kv_cache_memory": str(28 * BLOCK_BYTES), "max_num_batched_tokens": 16},
    ],
    ids=["whole prompts", "chunks", "single tokens", "no prefix cache", "preemption"],
)
def test_they_are_transformers_own(
    directory: Path, reference: list[torch.Tensor], options: dict[str, object]
) -> None:
    llm = make_llm(directory, **options)
    plain = llm.generate(PROMPTS, PLAIN, use_tqdm=False)  # fills the prefix cache
    mixed = [SCORED if number % 2 == 0 else PLAIN for number in range(len(PROMPTS))]
    for _ in range(2):
        outputs = llm.generate(PROMPTS, mixed, use_tqdm=False)
        for number, output in enumerate(outputs):
            if number % 2 == 0:
                check(output, reference[number])
            else:
                assert output.prompt_logprobs is None
            assert output.outputs[0].token_ids == plain[number].outputs[0].token_ids


def test_rows_of_logits_are_computed_in_parts(
    directory: Path, reference: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.engine.sampling.sampler.GROUP_ELEMENTS_CPU", VOCAB_SIZE * 3)
    for number, output in enumerate(make_llm(directory).generate(PROMPTS, SCORED, use_tqdm=False)):
        check(output, reference[number])


def test_without_output_only_the_prompt_is_scored(
    directory: Path, reference: list[torch.Tensor]
) -> None:
    llm = make_llm(directory)
    [output] = llm.generate(PROMPTS[0], SCORED.replace(max_tokens=0, n=2), use_tqdm=False)
    check(output, reference[0])
    for choice in output.outputs:
        assert choice.token_ids == []
        assert choice.text == ""
        assert choice.finish_reason is FinishReason.LENGTH
    [one] = llm.generate([[5]], SCORED.replace(max_tokens=0), use_tqdm=False)
    assert one.prompt_logprobs == [None]


def test_their_number_is_limited(directory: Path) -> None:
    llm = make_llm(directory, max_logprobs=3)
    for name in ("logprobs", "prompt_logprobs"):
        for number in (4, -1):
            with pytest.raises(InvalidParameterError) as caught:
                llm.generate("a", PLAIN.replace(**{name: number}), use_tqdm=False)
            assert caught.value.param == name
    unlimited = make_llm(directory, max_logprobs=-1)
    params = PLAIN.replace(logprobs=-1, prompt_logprobs=-1)
    [output] = unlimited.generate(PROMPTS[0], params, use_tqdm=False)
    for entry in [*(output.prompt_logprobs or [])[1:], *(output.outputs[0].logprobs or [])]:
        assert entry is not None
        assert sorted(token_id for token_id, _ in entry.top) == list(range(VOCAB_SIZE))


def test_bad_words_are_not_in_the_output(directory: Path) -> None:
    llm = make_llm(directory)
    [free] = llm.generate(PROMPTS[0], PLAIN, use_tqdm=False)
    word = llm.get_tokenizer().decode(free.outputs[0].token_ids[:1])
    [output] = llm.generate(PROMPTS[0], PLAIN.replace(bad_words=(word,)), use_tqdm=False)
    assert free.outputs[0].token_ids[0] not in output.outputs[0].token_ids
