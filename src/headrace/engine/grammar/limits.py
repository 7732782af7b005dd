"""The limits of a grammar: the size of its text, and the work and memory of its compilation."""

from llguidance import LLParserLimits

MAX_SOURCE_BYTES = 256 * 1024
"""Of a schema, a tag or a list of choices, as UTF-8."""
MAX_RULES_BYTES = 64 * 1024
"""Of a Lark or GBNF grammar or a regular expression."""
MAX_RULES = 512
"""Of a Lark or GBNF grammar. The time of converting GBNF grows with the square of their number."""
MAX_SCHEMA_VALUES = 4096
"""Keys and values of a schema. The time of compiling grows with the square of the number of an
object's properties: about 0.2 s for these."""
MAX_SCHEMA_DEPTH = 64
MAX_CHOICES = 4096
COMPILE_STACK_BYTES = 256 * 1024 * 1024
"""Of the threads that compile: the compiler recurses through chains of rules and references, as
many as the limits above allow. Only what is used of it takes memory."""


def parser_limits() -> LLParserLimits:
    """Deterministic: a grammar is within them on every machine or on none. Compiling within them
    takes up to about half a second, one mask about 0.1 s."""
    return LLParserLimits(
        initial_lexer_fuel=300_000,
        step_lexer_fuel=100_000,
        step_max_items=50_000,
        max_lexer_states=20_000,
        max_grammar_size=100_000,
        verbose_errors=False,  # errors must not show the output
    )
