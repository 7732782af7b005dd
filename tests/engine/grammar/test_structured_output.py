"""Whatever the model draws and whatever the schedule, an output that ends matches its grammar."""

import re
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llguidance import LLParserLimits

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.grammar import Grammar
from headrace.core.generation.outputs import FinishReason
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.grammar import compiler as compiler_module
from headrace.engine.grammar.compiler import GrammarCompiler
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.testing.fakes.fake_model import EOS_TOKEN_ID, VOCAB_SIZE
from headrace.testing.grammars import GRAMMARS, matches

MakeCore = Any
examples = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

PROMPTS = st.binary(min_size=1, max_size=12)


def params(grammar: Grammar, max_tokens: int = 400, **more: Any) -> SamplingParams:
    return SamplingParams(grammar=grammar, max_tokens=max_tokens, **more)


@examples
@given(grammar=GRAMMARS, prompt=PROMPTS)
def test_an_output_that_ends_matches(make_core: MakeCore, grammar: Grammar, prompt: bytes) -> None:
    core = make_core()
    core.add("r", params(grammar), prompt=list(prompt))
    output = core.run()["r"]
    assert output.failure is None
    if output.finish_reason is FinishReason.STOP:
        assert matches(grammar, output.text)
    else:
        assert len(output.token_ids) == 400


@examples
@given(grammars=st.lists(st.none() | GRAMMARS, min_size=2, max_size=8), data=st.data())
def test_outputs_do_not_depend_on_the_schedule(
    make_core: MakeCore, grammars: list[Grammar | None], data: st.DataObject
) -> None:
    """Requests one by one, and all together with so few blocks that they are preempted."""
    wanted = []
    for number, grammar in enumerate(grammars):
        alone = make_core()
        alone.add("r", SamplingParams(grammar=grammar, max_tokens=60), prompt=[number] * 5)
        wanted.append(alone.run()["r"].token_ids)
    crowded = make_core(num_blocks=data.draw(st.integers(18, 40)), max_model_len=72)
    for number, grammar in enumerate(grammars):
        each = SamplingParams(grammar=grammar, max_tokens=60)
        crowded.add(str(number), each, prompt=[number] * 5)
    outputs = crowded.run()
    assert [outputs[str(number)].token_ids for number in range(len(grammars))] == wanted


def test_preempted_requests_keep_their_place(make_core: MakeCore) -> None:
    core = make_core(num_blocks=20, max_model_len=72)
    grammar = Grammar.regex("[a-z]{50}")
    for number in range(4):
        core.add(str(number), params(grammar, 60), prompt=[number] * 5)
    outputs = core.run().values()
    assert sum(output.num_preemptions for output in outputs) > 0
    assert all(re.fullmatch("[a-z]{50}", output.text) for output in outputs)


@examples
@given(grammar=GRAMMARS, cut=st.integers(1, 100))
def test_an_output_continues_elsewhere(make_core: MakeCore, grammar: Grammar, cut: int) -> None:
    whole = make_core()
    whole.add("r", params(grammar))
    token_ids = whole.run()["r"].token_ids
    prior = token_ids[: min(cut, len(token_ids) - 1)]
    rest = make_core()
    rest.add("r", params(grammar), prior=prior)
    assert [*prior, *rest.run()["r"].token_ids] == token_ids


@pytest.mark.parametrize("prior", [b"abd", b"abc"])
def test_a_prior_output_that_cannot_continue_is_refused(make_core: MakeCore, prior: bytes) -> None:
    grammar = Grammar.regex(f"abc|{'x' * prior[-1]}")
    core = make_core()
    core.add("r", params(grammar), prior=list(prior))
    failure = core.run()["r"].failure
    assert failure is not None
    assert failure.param == "prior_output_token_ids"
    with pytest.raises(InvalidParameterError) as refused:  # compiled by now
        core.add("s", params(grammar), prior=list(prior))
    assert refused.value.param == "prior_output_token_ids"


def test_an_output_that_must_end_ends_without_eos(make_core: MakeCore) -> None:
    core = make_core()
    core.add("r", params(Grammar.regex("abc"), min_tokens=9))
    output = core.run()["r"]
    assert (output.token_ids, output.finish_reason) == (list(b"abc"), FinishReason.STOP)
    assert output.is_complete


def test_ignore_eos_goes_on_as_long_as_the_grammar_can(make_core: MakeCore) -> None:
    core = make_core()
    core.add("free", params(Grammar.regex("[a-z]+"), 300, ignore_eos=True))
    core.add("bounded", params(Grammar.regex("[a-z]{1,40}"), 300, ignore_eos=True))
    outputs = core.run()
    assert outputs["free"].finish_reason is FinishReason.LENGTH
    assert EOS_TOKEN_ID not in outputs["free"].token_ids
    assert re.fullmatch("[a-z]{40}", outputs["bounded"].text)
    assert outputs["bounded"].finish_reason is FinishReason.STOP


def test_a_stop_token_may_come_where_the_grammar_may_end(make_core: MakeCore) -> None:
    stop = ord("~")
    core = make_core()
    for number in range(20):
        grammar = Grammar.regex("[a-z]{3}[0-9]*")
        core.add(str(number), params(grammar, stop_token_ids=(stop,)), prompt=[number] * 3)
    outputs = core.run().values()
    for output in outputs:
        assert re.fullmatch("[a-z]{3}[0-9]*", output.text.removesuffix("~"))
    assert any(output.token_ids[-1] == stop for output in outputs)


@examples
@given(prompt=PROMPTS, length=st.integers(1, 3))
def test_a_grammar_waits_for_its_sequence(make_core: MakeCore, prompt: bytes, length: int) -> None:
    """Before it everything may come but an end; after it only what matches."""
    free = make_core()
    free.add("r", SamplingParams(max_tokens=60, ignore_eos=True), prompt=list(prompt))
    free_ids = free.run()["r"].token_ids
    at = next((i for i in range(8, 50) if EOS_TOKEN_ID not in free_ids[: i + length]), None)
    if at is None:
        return
    after = tuple(free_ids[at : at + length])
    grammar = Grammar("regex", "[a-z]{5}", after)
    core = make_core()
    core.add("r", params(grammar, 200), prompt=list(prompt))
    output = core.run()["r"]
    begin = next(
        i + length
        for i in range(len(output.token_ids))
        if tuple(output.token_ids[i : i + length]) == after
    )
    assert output.token_ids[:begin] == free_ids[:begin]
    assert re.fullmatch("[a-z]{5}", bytes(output.token_ids[begin:]).decode())


def test_an_aborted_request_leaves_nothing(make_core: MakeCore) -> None:
    core = make_core()
    grammar = Grammar.regex("[a-z]{90}[0-9]{9}")
    core.add("compiling", params(grammar))
    core.core.abort(["compiling"])
    assert core.constraints.num_requests == 0
    core.add("running", params(grammar))
    while not core.outputs["running"].token_ids:
        core.step()
    core.core.abort(["running"])
    core.run()


def test_the_grammar_of_an_aborted_request_is_not_compiled(
    make_core: MakeCore, byte_tokenizer: Tokenizer
) -> None:
    may_load = threading.Event()

    def load() -> Tokenizer:
        assert may_load.wait(60)
        return byte_tokenizer

    compiler = GrammarCompiler(load, VOCAB_SIZE)
    core = make_core(compiler)
    first, second, third = (Grammar.regex(f"[a-z]{{{size}}}") for size in (3, 4, 5))
    for name, grammar in (("first", first), ("second", second), ("third", third)):
        core.add(name, params(grammar))
    core.core.abort(["second"])
    may_load.set()
    outputs = core.run()
    assert [len(outputs[name].token_ids) for name in ("first", "second", "third")] == [3, 0, 5]
    assert compiler.cached(third) is not None
    assert compiler.cached(second) is None


def test_a_request_whose_grammar_is_invalid_fails_alone(make_core: MakeCore) -> None:
    core = make_core()
    core.add("wrong", params(Grammar("lark", "start: <|missing|>", (), "ebnf")))
    core.add("right", params(Grammar.choice(["x"])))
    core.add("free", SamplingParams(max_tokens=3))
    outputs = core.run()
    assert outputs["wrong"].finish_reason is FinishReason.ERROR
    assert outputs["wrong"].failure is not None
    assert outputs["wrong"].failure.param == "ebnf"
    assert outputs["right"].text == "x"
    assert len(outputs["free"].token_ids) == 3


HOSTILE = Grammar("regex", "(.*[a-z].{20}){9}", (), "regex")
"""Its lexer has another state for nearly every output."""


def test_requests_go_on_after_the_grammar_that_they_share_reached_a_limit(
    make_core: MakeCore, byte_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = []
    for number in range(4):
        core = make_core()
        core.add("r", params(HOSTILE, 90, ignore_eos=True), prompt=[number] * 5)
        alone.append(core.run()["r"].token_ids)
    few = LLParserLimits(max_lexer_states=1000, verbose_errors=False)
    monkeypatch.setattr(compiler_module, "parser_limits", lambda: few)
    limited = GrammarCompiler(lambda: byte_tokenizer, VOCAB_SIZE)
    compiled = limited.compile(HOSTILE, frozenset({EOS_TOKEN_ID})).result()
    core = make_core(limited)
    for number in range(4):
        core.add(str(number), params(HOSTILE, 90, ignore_eos=True), prompt=[number] * 5)
    outputs = core.run()
    assert [outputs[str(number)].token_ids for number in range(4)] == alone
    assert limited.cached(HOSTILE) not in (None, compiled)  # the limit was reached


def test_a_grammar_that_reaches_a_limit_fails_alone(
    make_core: MakeCore, byte_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its compiled form has reached the limit too, so it is not used again."""
    few = LLParserLimits(max_lexer_states=1000, verbose_errors=False)
    monkeypatch.setattr(compiler_module, "parser_limits", lambda: few)
    limited = GrammarCompiler(lambda: byte_tokenizer, VOCAB_SIZE)
    core = make_core(limited)
    core.add("hostile", params(HOSTILE, 1500, ignore_eos=True))
    core.add("free", SamplingParams(max_tokens=30, ignore_eos=True))
    outputs = core.run()
    assert len(outputs["free"].token_ids) == 30
    assert outputs["hostile"].finish_reason is FinishReason.ERROR
    assert outputs["hostile"].failure is not None
    assert outputs["hostile"].failure.param == "regex"
    assert outputs["hostile"].failure.is_invalid_request
    assert limited.cached(HOSTILE) is None


def test_requests_with_the_same_id_are_refused(make_core: MakeCore) -> None:
    core = make_core()
    grammar = Grammar.regex("[a-z]{77}")
    core.add("r", params(grammar))
    with pytest.raises(InvalidParameterError):
        core.add("r", params(grammar))
    core.run()
