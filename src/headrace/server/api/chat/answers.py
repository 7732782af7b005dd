"""The messages and chunks of chat completions, from the events of their answers."""

from collections import defaultdict

from headrace.core.generation.outputs import ChoiceDelta, CompletionOutput, FinishReason
from headrace.engine.tokenization.tokenizer import Tokenizer
from headrace.server.api.chat.chat_chunks import ChatChunkWriter
from headrace.server.api.schemas.requests import ChatCompletionRequest
from headrace.server.generation import TokenUsage
from headrace.server.http.json_body import JsonObject
from headrace.server.parsing.answer_stream import AnswerStream
from headrace.server.parsing.events import (
    Answer,
    ArgumentsDelta,
    ContentDelta,
    OutputEvent,
    ReasoningDelta,
    ToolCall,
    ToolCallBegin,
)

TOOL_CALLS = "tool_calls"
"""The finish reason of a choice that ends with tool calls."""


def finish_reason(reason: FinishReason | None, *, has_calls: bool) -> str | None:
    """OpenAI's finish reason."""
    return TOOL_CALLS if has_calls and reason is FinishReason.STOP else reason


class AnswerCollector:
    """Assembles the answers of a response that is not streamed."""

    def __init__(self, answers: AnswerStream, *, with_reasoning: bool) -> None:
        self._stream = answers
        self._with_reasoning = with_reasoning
        self._answers: dict[int, Answer] = defaultdict(Answer)

    def add(self, delta: ChoiceDelta) -> None:
        self._answers[delta.index].add(self._stream.events(delta))

    def message(self, index: int) -> JsonObject:
        """The fields of a choice's message that its answer has."""
        answer = self._answers[index]
        reasoning = (answer.reasoning or None) if self._with_reasoning else None
        message: JsonObject = {
            "content": answer.content or (None if answer.tool_calls or answer.reasoning else ""),
            "reasoning": reasoning,
            "reasoning_content": reasoning,
        }
        if answer.tool_calls:
            message["tool_calls"] = [_call(call) for call in answer.tool_calls]
        return message

    def finish_reason(self, output: CompletionOutput) -> str | None:
        has_calls = self._stream.has_calls(output.index)
        return finish_reason(output.finish_reason, has_calls=has_calls)


class AnswerChunkWriter(ChatChunkWriter):
    """The chunks of a stream: one for each event, after the first of a choice, which has the role,
    and before the last, which has the finish reason."""

    def __init__(
        self,
        head: JsonObject,
        body: ChatCompletionRequest,
        usage: TokenUsage,
        prompt_token_ids: list[int],
        tokenizer: Tokenizer,
        answers: AnswerStream,
    ) -> None:
        super().__init__(head, body, usage, prompt_token_ids, tokenizer)
        self._answers = answers
        self._with_reasoning = body.wants_reasoning

    def write(self, delta: ChoiceDelta) -> bytes:
        changes = [
            change
            for event in self._answers.events(delta)
            if (change := self._delta_of(event)) is not None
        ]
        is_last = delta.finish_reason is not None
        if not changes and not is_last and (delta.logprobs or self._with_token_ids):
            changes = [{}]  # a chunk for the tokens' own data
        pieces = []
        if delta.index not in self._started and (changes or is_last):
            self._started.add(delta.index)
            pieces.append(self._role(delta))
            if self._echo:
                pieces.append(self._event(self._change(delta.index, {"content": self._echo})))
        choices = [self._change(delta.index, change) for change in changes]
        if is_last:
            last = self._change(delta.index, {})
            has_calls = self._answers.has_calls(delta.index)
            last["finish_reason"] = finish_reason(delta.finish_reason, has_calls=has_calls)
            last["stop_reason"] = delta.stop_reason
            choices.append(last)
        if choices:
            # The tokens of a delta are sent with its first chunk.
            choices[0]["logprobs"] = self._logprobs(delta)
            if self._with_token_ids:
                choices[0]["token_ids"] = delta.token_ids
        pieces += map(self._event, choices)
        return b"".join(pieces)

    def _delta_of(self, event: OutputEvent) -> JsonObject | None:
        """The delta of a chunk; None for an event that has no chunk."""
        match event:
            case ContentDelta(text):
                return {"content": text}
            case ReasoningDelta(text):
                if not self._with_reasoning:
                    return None
                return {"reasoning": text, "reasoning_content": text}
            case ToolCallBegin(index, call_id, name):
                function = {"name": name, "arguments": ""}
                call = {"index": index, "id": call_id, "type": "function", "function": function}
                return {"tool_calls": [call]}
            case ArgumentsDelta(index, text):
                return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
        return None


def _call(call: ToolCall) -> JsonObject:
    return {
        "id": call.call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
