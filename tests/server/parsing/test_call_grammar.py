"""Outputs that match a grammar of tool calls, drawn at random from llguidance's masks."""

import json
import random
from typing import Any

import llguidance
import pytest
from tokenizers import AddedToken, decoders, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE

from headrace.core.generation.grammar import Grammar
from headrace.engine.grammar.limits import parser_limits
from headrace.engine.grammar.source import to_llguidance
from headrace.engine.grammar.vocabulary import build_vocabulary
from headrace.engine.tokenization.byte_level import byte_of_character
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.parsing.call_grammar import (
    CallableTool,
    required_calls,
    strict_calls,
)
from headrace.server.parsing.formats import TOOL_FORMATS, reasoning_format
from headrace.server.parsing.model_formats import ModelFormats
from headrace.server.parsing.output_parser import OutputSyntax
from headrace.server.parsing.tool_format import ToolFormat
from headrace.testing.tool_outputs import parse

EOS_TOKEN_ID = 256
SCHEMA = {
    "type": "object",
    "properties": {"days": {"type": "integer"}},
    "required": ["days"],
    "additionalProperties": False,
}
EMPTY = {"type": "object", "properties": {}, "additionalProperties": False}
TOOLS = [CallableTool("get_weather", SCHEMA), CallableTool("search", EMPTY)]
KEYS: dict[str, dict[str, Any]] = {"get_weather": {"days": 1}, "search": {}}
LIKELY = set(b'\n {}[]",:1<>=/abc`|')
"""Bytes that are drawn more often, so that texts look like calls and end soon."""


def build_tokenizer(marks: list[str]) -> Tokenizer:
    """Tokens are bytes, and these marks: half of them special."""
    backend = Backend(BPE(vocab=byte_of_character(), merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<eos>", special=True)])
    backend.add_tokens(
        [AddedToken(mark, special=index % 2 == 0) for index, mark in enumerate(marks)]
    )
    return Tokenizer(backend, named_tokens={"eos_token": "<eos>"})


def marks_of(tool_format: ToolFormat) -> list[str]:
    found = {*tool_format.begins, *tool_format.closings, "<think>", "</think>"}
    found |= {part for part in tool_format.call_parts if isinstance(part, str)}
    if tool_format.is_harmony:
        found = {f"<|{name}|>" for name in ("channel", "message", "start", "end", "constrain")}
    return sorted(each for each in found if each[-1:] in ">]")


class Drawing:
    """Draws outputs as a model of random weights would, held to a grammar."""

    def __init__(self, tool_format: ToolFormat, with_tokens: bool) -> None:
        self._tokenizer = build_tokenizer(marks_of(tool_format) if with_tokens else [])
        self._vocabulary = build_vocabulary(
            self._tokenizer, self._tokenizer.vocab_size, {EOS_TOKEN_ID}
        )
        self.tokens = ModelFormats(None, self._tokenizer).grammar_tokens

    def matcher(self, grammar: Grammar) -> llguidance.LLMatcher:
        matcher = llguidance.LLMatcher(
            self._vocabulary, to_llguidance(grammar), limits=parser_limits()
        )
        assert not matcher.is_error(), matcher.get_error()
        return matcher

    def text(self, grammar: Grammar, seed: int, max_tokens: int = 300) -> tuple[str, bool]:
        """An output and whether it ended by itself."""
        matcher = self.matcher(grammar)
        draw = random.Random(seed)
        token_ids: list[int] = []
        while len(token_ids) < max_tokens:
            mask = matcher.compute_bitmask()
            allowed = [
                token_id
                for token_id in range(self._vocabulary.vocab_size)
                if mask[token_id // 8] >> (token_id % 8) & 1
            ]
            likely = [each for each in allowed if each >= EOS_TOKEN_ID or each in LIKELY]
            token_id = draw.choice(likely or allowed)
            if token_id == EOS_TOKEN_ID:
                break
            assert matcher.consume_token(token_id)
            token_ids.append(token_id)
        text = self._tokenizer.decode(token_ids, skip_special_tokens=False)
        return text, len(token_ids) < max_tokens


@pytest.mark.parametrize("with_tokens", [False, True], ids=["text", "tokens"])
@pytest.mark.parametrize("tool_format", TOOL_FORMATS, ids=lambda each: each.name)
def test_constrained_calls_match_their_schemas(tool_format: ToolFormat, with_tokens: bool) -> None:
    drawing = Drawing(tool_format, with_tokens)
    reasoning = None if tool_format.is_harmony else reasoning_format("think")
    syntax = OutputSyntax(tool_format, reasoning)
    num_calls = 0
    for seed in range(6):
        for inside in (False, True) if reasoning is not None else (False,):
            for write in (required_calls, strict_calls):
                grammar = write(
                    syntax, TOOLS, drawing.tokens, max_calls=3, starts_in_reasoning=inside
                )
                text, is_whole = drawing.text(grammar, seed)
                answer = parse(syntax, [text], tools=KEYS, starts_in_reasoning=inside)
                for call in answer.tool_calls:
                    assert call.is_complete or not is_whole, text
                    if call.is_complete:
                        assert json.loads(call.arguments).keys() == KEYS[call.name].keys()
                if write is required_calls and is_whole:
                    assert 1 <= len(answer.tool_calls) <= 3, text
                    assert answer.content.strip() == ""
                num_calls += len(answer.tool_calls)
    assert num_calls > 0


def test_one_call_only() -> None:
    drawing = Drawing(next(each for each in TOOL_FORMATS if each.name == "hermes"), True)
    hermes = next(each for each in TOOL_FORMATS if each.name == "hermes")
    syntax = OutputSyntax(hermes, None)
    for seed in range(10):
        grammar = required_calls(
            syntax, TOOLS, drawing.tokens, max_calls=1, starts_in_reasoning=False
        )
        text, is_whole = drawing.text(grammar, seed)
        assert not is_whole or len(parse(syntax, [text], tools=KEYS).tool_calls) == 1


def test_a_tool_that_is_not_strict_takes_any_object() -> None:
    hermes = next(each for each in TOOL_FORMATS if each.name == "hermes")
    drawing = Drawing(hermes, False)
    tools = [CallableTool("get_weather", SCHEMA, is_constrained=False)]
    grammar = strict_calls(
        OutputSyntax(hermes, None), tools, drawing.tokens, max_calls=2, starts_in_reasoning=False
    )
    matcher = drawing.matcher(grammar)
    text = 'Yes: <tool_call>\n{"name": "get_weather", "arguments": {"other": [1]}}\n</tool_call>'
    token_ids = list(text.encode())
    assert matcher.try_consume_tokens(token_ids) == len(token_ids)
    assert matcher.is_accepting()
