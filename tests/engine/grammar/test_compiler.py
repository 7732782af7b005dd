"""Compiled grammars are kept within bounds of number and bytes."""

import pytest

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.grammar import Grammar
from headrace.engine.grammar.compiler import MAX_CACHED, MAX_CACHED_BYTES, GrammarCompiler
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.testing.fakes.fake_model import EOS_TOKEN_ID, VOCAB_SIZE

ENDS = frozenset({EOS_TOKEN_ID})


@pytest.fixture
def empty(byte_tokenizer: Tokenizer) -> GrammarCompiler:
    return GrammarCompiler(lambda: byte_tokenizer, VOCAB_SIZE)


def compile_regex(compiler: GrammarCompiler, expression: str) -> Grammar:
    grammar = Grammar.regex(expression)
    compiler.compile(grammar, ENDS).result()
    return grammar


def test_the_least_recently_used_is_dropped(empty: GrammarCompiler) -> None:
    first = compile_regex(empty, "first")
    second = compile_regex(empty, "second")
    for number in range(MAX_CACHED - 1):
        assert empty.cached(first) is not None
        compile_regex(empty, f"x{number}")
    assert empty.num_cached == MAX_CACHED
    assert empty.cached(first) is not None
    assert empty.cached(second) is None
    assert empty.num_cached_bytes == len("first") + sum(
        len(f"x{number}") for number in range(MAX_CACHED - 1)
    )


def test_their_texts_are_bounded(empty: GrammarCompiler) -> None:
    size = 250_000
    num_fitting = MAX_CACHED_BYTES // size
    for number in range(num_fitting + 3):
        schema = f'{{"const": {number}}}'.ljust(size)
        empty.compile(Grammar.json_schema(schema), ENDS).result()
        assert empty.num_cached_bytes <= MAX_CACHED_BYTES
    assert 0 < empty.num_cached <= num_fitting


def test_a_grammar_is_compiled_once(empty: GrammarCompiler) -> None:
    both = [empty.compile(Grammar.regex("[a-z]{3}"), ENDS) for _ in range(2)]
    assert both[0].result() is both[1].result()
    named = Grammar("regex", "[a-z]{3}", (5,), "guided_regex")
    assert empty.cached(named) is both[0].result()
    empty.forget(named, both[0].result())
    assert (empty.num_cached, empty.num_cached_bytes) == (0, 0)


def test_a_grammar_that_cannot_be_compiled_is_not_kept(empty: GrammarCompiler) -> None:
    for source in ("start: <|missing|>", "start: missing"):
        with pytest.raises(InvalidParameterError):
            empty.compile(Grammar.lark(source), ENDS).result()
    assert empty.num_cached == 0


def test_a_model_without_end_tokens_has_an_end(empty: GrammarCompiler) -> None:
    compiled = empty.compile(Grammar.regex("a*"), frozenset()).result()
    assert compiled.end_token_ids == {VOCAB_SIZE}
    assert compiled.mask_words * 32 > VOCAB_SIZE
