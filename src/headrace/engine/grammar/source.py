"""Translates a grammar of a request to llguidance's input, and checks it without a vocabulary."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llguidance import LLMatcher, grammar_from

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.grammar import Grammar, GrammarKind
from headrace.engine.grammar.limits import (
    MAX_CHOICES,
    MAX_RULES,
    MAX_RULES_BYTES,
    MAX_SCHEMA_DEPTH,
    MAX_SCHEMA_VALUES,
    MAX_SOURCE_BYTES,
    parser_limits,
)
from headrace.engine.grammar.structural_tag import structural_tag_to_lark

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

MAX_MESSAGE_LENGTH = 500
"""Characters of llguidance's own message in an error."""

_JSON_DEFAULTS: "JsonCompileOptions" = {"whitespace_pattern": r"[ \t\n\r]{1,20}"}
"""Models that are unsure repeat whitespace without end, so it is bounded between two parts, as in
llama.cpp's grammars. A schema's "x-guidance" overrides it."""


def check_grammar(grammar: Grammar) -> None:
    """Raises InvalidParameterError, named by the grammar's ``param``, if it cannot be compiled.

    Special tokens are not checked: only the compiler knows the vocabulary. Takes up to about half a
    second; runs on a thread with a stack of COMPILE_STACK_BYTES.
    """
    text = to_llguidance(grammar)
    is_error, messages = LLMatcher.validate_grammar_with_warnings(text, limits=parser_limits())
    if is_error:
        raise refusal(grammar, messages[0])


def to_llguidance(grammar: Grammar) -> str:
    """llguidance's own form of a grammar; raises InvalidParameterError."""
    limit = MAX_RULES_BYTES if grammar.kind in ("lark", "regex") else MAX_SOURCE_BYTES
    num_bytes = len(grammar.source.encode("utf-8", "surrogatepass"))
    if num_bytes > limit:
        raise refusal(grammar, f"may have at most {limit} bytes, got {num_bytes}")
    try:
        return _TRANSLATIONS[grammar.kind](grammar.source)
    except (ValueError, RecursionError) as error:
        raise refusal(grammar, str(error)) from None
    except Exception as error:  # the GBNF converter raises bare Exception
        raise refusal(grammar, str(error) or repr(error)) from None


def refusal(grammar: Grammar, message: str) -> InvalidParameterError:
    """The error for this grammar, with the beginning of the compiler's message."""
    text = message.partition("\n<state>")[0].partition("\n<non-verbose/>")[0].strip()
    if len(text) > MAX_MESSAGE_LENGTH:
        text = text[:MAX_MESSAGE_LENGTH] + "…"
    return InvalidParameterError(grammar.param, text)


def _json_schema(source: str) -> str:
    try:
        schema = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not valid JSON: {error}") from None
    if not isinstance(schema, dict | bool):
        raise ValueError("must be a JSON schema: an object, true or false")
    if schema is False:
        raise ValueError("allows no output")
    check_schema_bounds(schema)
    text = "{}" if schema is True else source  # options need an object
    return LLMatcher.grammar_from_json_schema(text, _JSON_DEFAULTS)


def _json_object(source: str) -> str:
    schema: dict[str, Any] = {"type": "object"}
    if source:
        schema["x-guidance"] = json.loads(source)
    return LLMatcher.grammar_from_json_schema(json.dumps(schema), _JSON_DEFAULTS)


def _regex(source: str) -> str:
    return LLMatcher.grammar_from_regex(source)


def _choice(source: str) -> str:
    texts = json.loads(source)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be a list of texts")
    if not texts:
        raise ValueError("must have at least one text")
    if len(texts) > MAX_CHOICES:
        raise ValueError(f"may have at most {MAX_CHOICES} texts, got {len(texts)}")
    return LLMatcher.grammar_from_lark("start: " + " | ".join(map(json.dumps, texts)))


def _lark(source: str) -> str:
    num_rules = source.count("\n") + 1
    if num_rules > MAX_RULES:
        raise ValueError(f"may have at most {MAX_RULES} lines, got {num_rules}")
    if not source.strip():
        raise ValueError("must not be empty")
    return grammar_from("grammar", source)


def _structural_tag(source: str) -> str:
    tag = json.loads(source)
    check_schema_bounds(tag)
    return LLMatcher.grammar_from_lark(structural_tag_to_lark(tag))


_TRANSLATIONS: dict[GrammarKind, Callable[[str], str]] = {
    "json_schema": _json_schema,
    "json_object": _json_object,
    "regex": _regex,
    "choice": _choice,
    "lark": _lark,
    "structural_tag": _structural_tag,
    "tool_calls": LLMatcher.grammar_from_lark,
}


def check_schema_bounds(value: Any) -> None:
    """Raises ValueError if a schema is nested too deeply or has too many keys and values."""
    num_values = 0
    level = [value]
    for _ in range(MAX_SCHEMA_DEPTH):
        num_values += len(level)
        if num_values > MAX_SCHEMA_VALUES:
            raise ValueError(f"may have at most {MAX_SCHEMA_VALUES} values")
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = inner
    if level:
        raise ValueError(f"may be nested at most {MAX_SCHEMA_DEPTH} levels deep")
