"""The formats of one served model, from its chat template or from the server's options."""

import functools

from headrace.engine.rendering.tool_support import detect_tool_support
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.parsing.call_grammar import GrammarTokens
from headrace.server.parsing.formats import (
    DEFAULT_TOOL_FORMAT,
    HARMONY_REASONING,
    NONE,
    reasoning_format,
    reasoning_format_of,
    tool_format,
    tool_format_of,
)
from headrace.server.parsing.output_parser import OutputSyntax
from headrace.server.parsing.tool_format import ReasoningFormat, ToolFormat

_MAX_END_CHARS = 256
"""Of a prompt: a marker and the white space after it."""


class ModelFormats:
    """What to look for in a model's output."""

    def __init__(
        self,
        template: str | None,
        tokenizer: Tokenizer,
        *,
        tool_call_parser: str | None = None,
        reasoning_parser: str | None = None,
    ) -> None:
        """template: the chat template in use. The parsers' names override what it shows; "none"
        turns parsing off. Raises InvalidParameterError for an unknown name."""
        self._template = template or ""
        self._tokenizer = tokenizer
        self.support = detect_tool_support(self._template)
        self.calls = self._choose_calls(tool_call_parser)
        self.reasoning = self._choose_reasoning(reasoning_parser)
        self._is_harmony = (self.calls is not None and self.calls.is_harmony) or (
            reasoning_parser in HARMONY_REASONING
        )
        if self._is_harmony and reasoning_parser in HARMONY_REASONING:
            self.calls = tool_format("openai")

    def syntax(self, *, with_calls: bool) -> OutputSyntax:
        """with_calls: the request has tools that the model may call."""
        return self._syntax_with_calls if with_calls else self._syntax_without_calls

    def opens_reasoning(self, prompt: str) -> bool:
        """Whether the prompt ends with the begin of a reasoning block."""
        if self.reasoning is None:
            return False
        return prompt[-_MAX_END_CHARS:].rstrip().endswith(self.reasoning.begin)

    @functools.cached_property
    def reasoning_end_ids(self) -> tuple[int, ...]:
        """The tokens that end a block of reasoning."""
        if self.reasoning is None:
            return ()
        return tuple(self._tokenizer.encode(self.reasoning.end, add_special_tokens=False))

    @functools.cached_property
    def grammar_tokens(self) -> GrammarTokens:
        """What grammars of calls need of the vocabulary."""
        special = self._tokenizer.special_tokens
        end_id = self._tokenizer.eos_token_id
        return GrammarTokens(
            {text: token_id for token_id, text in special.items()},
            frozenset() if end_id is None else frozenset({end_id}),
        )

    @functools.cached_property
    def _syntax_with_calls(self) -> OutputSyntax:
        return OutputSyntax(self.calls, self.reasoning, self._special_texts)

    @functools.cached_property
    def _syntax_without_calls(self) -> OutputSyntax:
        calls = self.calls if self._is_harmony else None
        return OutputSyntax(calls, self.reasoning, self._special_texts)

    @property
    def _special_texts(self) -> frozenset[str]:
        return frozenset(self._tokenizer.special_tokens.values())

    def _choose_calls(self, name: str | None) -> ToolFormat | None:
        if name == NONE:
            return None
        if name is not None:
            return tool_format(name)
        found = tool_format_of(self._template)
        # A template without tools gets them as Headrace writes them.
        return found if self.support.reads_tools or found.is_harmony else DEFAULT_TOOL_FORMAT

    def _choose_reasoning(self, name: str | None) -> ReasoningFormat | None:
        if name in (NONE, *HARMONY_REASONING):
            return None
        if name is not None:
            return reasoning_format(name)
        if self.calls is not None and self.calls.is_harmony:
            return None
        return reasoning_format_of(self._template)
