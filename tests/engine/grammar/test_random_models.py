"""Outputs of tiny models with random weights, through LLM, match whatever is demanded."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headrace import LLM, SamplingParams
from headrace.core.errors import InvalidParameterError
from headrace.core.generation.grammar import Grammar
from headrace.core.generation.outputs import FinishReason
from headrace.testing.grammars import GRAMMARS, matches
from headrace.testing.models.tiny_gguf import write_tiny_gguf
from headrace.testing.models.tiny_models import write_tiny_model

MAX_TOKENS = 120
examples = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # one example takes half a second
)


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    files = write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
    return LLM(str(files.path), kv_cache_memory="64MiB", max_num_seqs=16)


@pytest.fixture(scope="module")
def small_llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    """The same weights, with blocks for little more than one request."""
    files = write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
    return LLM(
        str(files.path),
        kv_cache_memory="128KiB",
        max_model_len=160,
        max_num_batched_tokens=64,
    )


@examples
@given(
    grammars=st.lists(st.none() | GRAMMARS, min_size=1, max_size=6),
    seed=st.integers(0, 2**31),
    temperature=st.sampled_from((0.0, 0.7, 2.0)),
)
def test_outputs_match_in_any_batch(
    llm: LLM, small_llm: LLM, grammars: list[Grammar | None], seed: int, temperature: float
) -> None:
    """Also with preemptions, with the same tokens."""
    prompts = [f"prompt {number}" for number in range(len(grammars))]
    params = [
        SamplingParams(
            grammar=grammar,
            seed=seed,
            temperature=temperature,
            max_tokens=MAX_TOKENS,
            n=2,
            frequency_penalty=0.5,
            logit_bias={40: 5.0},
        )
        for grammar in grammars
    ]
    outputs = llm.generate(prompts, params, use_tqdm=False)
    again = small_llm.generate(prompts, params, use_tqdm=False)
    for output, other, grammar in zip(outputs, again, grammars, strict=True):
        for choice, twin in zip(output.outputs, other.outputs, strict=True):
            assert choice.token_ids == twin.token_ids
            if grammar is not None and choice.finish_reason is FinishReason.STOP:
                assert matches(grammar, choice.text)


@examples
@given(grammar=GRAMMARS, seed=st.integers(0, 2**31), data=st.data())
def test_a_stop_string_ends_a_constrained_output(
    llm: LLM, grammar: Grammar, seed: int, data: st.DataObject
) -> None:
    """At its first occurrence, with what came before it as without the stop string."""
    params = SamplingParams(grammar=grammar, seed=seed, max_tokens=60)
    [whole] = llm.generate(["prompt"], params, use_tqdm=False)
    text = whole.outputs[0].text
    if not text:
        return
    begin = data.draw(st.integers(0, len(text) - 1))
    stop = text[begin : begin + data.draw(st.integers(1, 4))]
    for includes in (False, True):
        stopping = SamplingParams(
            grammar=grammar,
            seed=seed,
            max_tokens=60,
            stop=(stop,),
            include_stop_str_in_output=includes,
        )
        [output] = llm.generate(["prompt"], stopping, use_tqdm=False)
        choice = output.outputs[0]
        end = text.index(stop) + (len(stop) if includes else 0)
        assert choice.text == text[:end]
        assert (choice.finish_reason, choice.stop_reason) == (FinishReason.STOP, stop)
    # Nothing is left of the requests that the front end ended.
    [again] = llm.generate(["prompt"], params, use_tqdm=False)
    assert again.outputs[0].text == text


def test_a_gguf_vocabulary_is_followed(tmp_path: Path) -> None:
    files = write_tiny_gguf(tmp_path / "tiny.gguf")
    llm = LLM(str(files.path), kv_cache_memory="16MiB")
    grammar = Grammar.regex("(é|[a-z]){2,9}")
    outputs = llm.generate(
        ["x"], SamplingParams(grammar=grammar, max_tokens=60, n=8, temperature=2.0), use_tqdm=False
    )
    for choice in outputs[0].outputs:
        assert choice.finish_reason is FinishReason.STOP
        assert matches(grammar, choice.text)


def test_log_probabilities_do_not_show_the_grammar(llm: LLM) -> None:
    free = SamplingParams(max_tokens=1, temperature=0.0, logprobs=3)
    [wanted] = llm.generate(["abc"], free, use_tqdm=False)
    forced = free.replace(grammar=Grammar.regex("[xyz]{3}"))
    [output] = llm.generate(["abc"], forced, use_tqdm=False)
    entries, expected = output.outputs[0].logprobs, wanted.outputs[0].logprobs
    assert entries is not None
    assert expected is not None
    assert entries[0].top == expected[0].top
    assert entries[0].token_id != expected[0].token_id


def test_an_invalid_grammar_changes_nothing(llm: LLM) -> None:
    params = [SamplingParams(max_tokens=3), SamplingParams(grammar=Grammar.regex("("))]
    with pytest.raises(InvalidParameterError) as refused:
        llm.generate(["a", "b"], params, use_tqdm=False)
    assert refused.value.param == "grammar"
    assert len(llm.generate(["a"], params[0], use_tqdm=False)[0].outputs[0].token_ids) == 3
