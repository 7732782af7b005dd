"""A grammar that the output of a request must match. engine.grammar compiles and follows it."""

from typing import Literal

import msgspec

GrammarKind = Literal["json_schema", "json_object", "regex", "choice", "lark", "structural_tag"]


class Grammar(msgspec.Struct, frozen=True, array_like=True):
    """What the output must match, and from which token on."""

    kind: GrammarKind
    source: str
    """json_schema: the schema as JSON text; json_object: empty; regex: the expression; choice: the
    texts as a JSON array; lark: a grammar in llguidance's Lark syntax; structural_tag: the tag as
    JSON text."""
    after_token_ids: tuple[int, ...] = ()
    """The grammar begins after this sequence of output tokens, such as the end of a reasoning
    block; empty: at the first output token."""
