"""A grammar that the output of a request must match. engine.grammar compiles and follows it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

GrammarKind = Literal[
    "json_schema", "json_object", "regex", "choice", "lark", "structural_tag", "tool_calls"
]


class Grammar(msgspec.Struct, frozen=True, array_like=True):
    """What the output must match, and from which token on."""

    kind: GrammarKind
    source: str
    """json_schema: the schema as JSON text; json_object: the compiler's options as JSON text, or
    empty; regex: the expression; choice: the texts as a JSON array; lark: a grammar in llguidance's
    Lark syntax, or in llama.cpp's GBNF; structural_tag: the tag as JSON text; tool_calls: a grammar
    in llguidance's Lark syntax, made from a request's tools, whose schemas were checked."""
    after_token_ids: tuple[int, ...] = ()
    """The grammar begins after this sequence of output tokens, such as the end of a reasoning
    block; empty: at the first output token."""
    param: str = "grammar"
    """The request's field that it comes from: errors name it."""

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | str) -> "Grammar":
        """JSON that is valid under this schema."""
        return cls("json_schema", schema if isinstance(schema, str) else json.dumps(schema))

    @classmethod
    def json_object(cls) -> "Grammar":
        """Any JSON object."""
        return cls("json_object", "")

    @classmethod
    def regex(cls, expression: str) -> "Grammar":
        """A text that the whole expression matches, in the syntax of Rust's regex crate."""
        return cls("regex", expression)

    @classmethod
    def choice(cls, texts: Sequence[str]) -> "Grammar":
        """One of these texts."""
        return cls("choice", json.dumps(list(texts)))

    @classmethod
    def lark(cls, grammar: str) -> "Grammar":
        """A context-free grammar: llguidance's Lark syntax, or GBNF."""
        return cls("lark", grammar)
