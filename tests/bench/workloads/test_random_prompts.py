import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.figures.token_counter import load_token_counter
from headrace.bench.workloads.factory import load_workload
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.prompt_maker import FIRST_TOKEN_ID, PromptMaker
from headrace.testing.models.tiny_tokenizer import build_tokenizer


@given(st.integers(1, 300), st.floats(0, 0.99), st.integers(0, 99), st.integers(1, 5))
def test_lengths_are_within_the_requested_range(input_len, ratio, seed, number):
    options = WorkloadOptions(
        "random",
        input_len=input_len,
        output_len=64,
        range_ratio=ratio,
        seed=seed,
        num_prompts=number,
        vocab_size=500,
    )
    planned = load_workload(options)
    assert planned == load_workload(options)
    assert len(planned) == number
    for one in planned:
        assert input_len * (1 - ratio) <= len(one.prompt) <= input_len * (1 + ratio)
        assert 64 * (1 - ratio) <= one.max_tokens <= 64 * (1 + ratio)
        assert all(FIRST_TOKEN_ID <= token_id < 500 for token_id in one.prompt)
        assert one.ignore_eos


def test_without_a_ratio_lengths_are_exact_and_prompts_differ():
    planned = load_workload(WorkloadOptions("random", input_len=32, output_len=8))
    assert {(len(one.prompt), one.max_tokens) for one in planned} == {(32, 8)}
    assert len({one.prompt for one in planned}) == len(planned) == 100


def test_prefixes_are_used_in_rotation():
    planned = load_workload(
        WorkloadOptions("shared-prefix", prefix_len=50, input_len=10, num_prefixes=3, num_prompts=7)
    )
    prefixes = [one.prompt[:50] for one in planned]
    assert prefixes[:3] == prefixes[3:6]
    assert len(set(prefixes)) == 3
    assert len({one.prompt[50:] for one in planned}) == 7


def test_a_shared_prefix_has_a_default_length():
    planned = load_workload(WorkloadOptions("shared-prefix", num_prompts=2))
    assert planned[0].prompt[:1024] == planned[1].prompt[:1024]
    assert [len(one.prompt) for one in planned] == [1152, 1152]
    planned = load_workload(WorkloadOptions("shared-prefix", num_prompts=2, prefix_len=0))
    assert [len(one.prompt) for one in planned] == [128, 128]


def test_ignore_eos_can_be_disabled():
    planned = load_workload(WorkloadOptions("random", num_prompts=1, ignore_eos=False))
    assert not planned[0].ignore_eos


def test_chat_prompts_are_words():
    planned = load_workload(WorkloadOptions("random", endpoint="chat", input_len=9, num_prompts=1))
    assert len(planned[0].messages[0]["content"].split()) == 9


@pytest.mark.parametrize("vocab_size", [258, 300, 330])
def test_text_has_the_exact_number_of_tokens(tmp_path, vocab_size):
    build_tokenizer(vocab_size).save(str(tmp_path / "tokenizer.json"))
    options = WorkloadOptions("random", prompt_form="text", tokenizer=tmp_path)
    maker = PromptMaker(options)
    counter = load_token_counter(tmp_path)
    source = random.Random(1)
    for num_tokens in (1, 2, 7, 100, 1000):
        text = maker.join([maker.draw(num_tokens, source)])
        # Where every byte is a token, "a" and a space are two tokens, so one may be missing.
        assert num_tokens - 1 <= counter.count(text) <= max(num_tokens, 5)


def test_single_token_words_are_preferred(tmp_path):
    build_tokenizer(400).save(str(tmp_path / "tokenizer.json"))
    options = WorkloadOptions("random", prompt_form="text", tokenizer=tmp_path)
    maker = PromptMaker(options)
    counter = load_token_counter(tmp_path)
    text = maker.join([maker.draw(500, random.Random(1))])
    assert counter.count(text) == 500


def test_a_tiny_vocabulary_has_few_ids():
    planned = load_workload(WorkloadOptions("random", vocab_size=3, num_prompts=1))
    assert set(planned[0].prompt) == {0, 1, 2}
