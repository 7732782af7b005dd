"""How the outputs of a chat request are sampled and parsed, given its prompt."""

import secrets
import string
from dataclasses import dataclass

import msgspec

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.api.chat.tools import ToolPlan
from headrace.server.api.schemas.requests import ChatCompletionRequest
from headrace.server.parsing.answer_stream import AnswerEvents, AnswerStream, PlainAnswers
from headrace.server.parsing.events import NewCallId, new_call_id
from headrace.server.parsing.model_formats import ModelFormats
from headrace.server.parsing.output_parser import OutputParser, OutputSyntax

_ALPHANUMERIC = string.ascii_letters + string.digits


@dataclass(frozen=True)
class AnswerPlan:
    """The sampling parameters and the parser of one request."""

    params: SamplingParams
    syntax: OutputSyntax
    tools: ToolPlan
    starts_in_reasoning: bool
    skips_special_tokens: bool

    def stream(self, tokenizer: Tokenizer) -> AnswerStream | None:
        """Parses the outputs; None if they are the content as they are."""
        if self.syntax.is_plain:
            return None
        special_tokens = tokenizer.special_tokens if self.skips_special_tokens else {}
        return AnswerStream(self._new_parser, special_tokens)

    def events(self, tokenizer: Tokenizer) -> AnswerEvents:
        """As ``stream``, for writers that have no other way for plain outputs."""
        return self.stream(tokenizer) or PlainAnswers()

    def _new_parser(self) -> OutputParser:
        return OutputParser(
            self.syntax,
            tools=self.tools.schemas,
            starts_in_reasoning=self.starts_in_reasoning,
            max_calls=self.tools.max_calls,
            new_id=_new_id(self.syntax),
        )


def plan_answers(
    body: ChatCompletionRequest,
    tools: ToolPlan,
    formats: ModelFormats,
    prompt: str,
    params: SamplingParams,
) -> AnswerPlan:
    """params: as the request's other fields say. Raises InvalidParameterError for a combination
    that cannot be constrained."""
    syntax = tools.syntax(formats)
    inside = _starts_in_reasoning(body, formats, prompt)
    skips_special_tokens = params.skip_special_tokens
    if not syntax.is_plain:
        params = params.replace(skip_special_tokens=False)  # markers may be special tokens
    if tools.mode == "required" and params.grammar is not None:
        raise InvalidParameterError(
            "tool_choice", f"cannot require a call together with {params.grammar.param}"
        )
    if tools.is_constrained and params.grammar is None and syntax.calls is not None:
        grammar = tools.grammar(syntax, formats, starts_in_reasoning=inside)
        params = params.replace(grammar=msgspec.structs.replace(grammar, param="tools"))
    elif params.grammar is not None and inside:
        waiting = msgspec.structs.replace(params.grammar, after_token_ids=formats.reasoning_end_ids)
        params = params.replace(grammar=waiting)
    return AnswerPlan(params, syntax, tools, inside, skips_special_tokens)


def _starts_in_reasoning(body: ChatCompletionRequest, formats: ModelFormats, prompt: str) -> bool:
    """Whether the model's output begins within a block of reasoning."""
    reasoning = formats.reasoning
    if reasoning is None or not body.continue_final_message:
        return formats.opens_reasoning(prompt)
    # Of what is continued, the last marker counts.
    begin = prompt.rfind(reasoning.begin)
    return (
        begin >= 0 and begin > prompt.rfind(reasoning.end) and _is_continued(body, reasoning.begin)
    )


def _is_continued(body: ChatCompletionRequest, begin: str) -> bool:
    """Whether the last message has this marker."""
    content = body.messages[-1].content
    parts = [part.text or "" for part in content] if isinstance(content, list) else [content or ""]
    return any(begin in part for part in parts)


def _new_id(syntax: OutputSyntax) -> NewCallId:
    length = None if syntax.calls is None else syntax.calls.call_id_length
    if length is None:
        return new_call_id
    return lambda: "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))
