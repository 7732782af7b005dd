"""The stream of a message, as the anthropic client assembles it, is the whole message."""

import itertools
import json
from typing import Any

from anthropic import NOT_GIVEN
from anthropic._models import construct_type
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.core.generation.outputs import ChoiceDelta, FinishReason
from headrace.server.api.messages.content_blocks import ContentBlocks
from headrace.server.api.messages.message_object import MessageObject
from headrace.server.generation import TokenUsage
from headrace.server.parsing.answer_stream import AnswerStream
from headrace.server.parsing.output_parser import OutputParser
from headrace.testing.tool_outputs import TOOLS, WRITERS, syntax

SYNTAX = syntax("hermes", "qwen3")
CALL = WRITERS["hermes"]([("get_weather", {"city": "Zürich", "days": 2})])
pieces = st.lists(
    st.sampled_from(
        [
            *("Hello", " wor", "ld.\n", "\n", "é€"),
            *(CALL, f"\n{CALL}\n", "<tool_call>\n{", "<tool_"),
            '<tool_call>\n{"name": "search", "arguments": {"a": ["b", "c',
        ]
    ),
    max_size=6,
)
thoughts = st.sampled_from(
    ["", "<think>\nHm.\n</think>\n\n", "<think>\nHm, ", f"<think>\n{CALL}", "<think></think>"]
)
cuts = st.lists(st.integers(0, 10_000), max_size=20)


def message_of(
    parts: list[str], reason: FinishReason, *, with_thinking: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The whole message, and its stream's events."""
    ids = (f"call_{number}" for number in itertools.count())
    answers = AnswerStream(
        lambda: OutputParser(SYNTAX, tools=TOOLS, new_id=lambda: next(ids)), special_tokens={}
    )
    blocks = ContentBlocks(answers, with_thinking=with_thinking)
    usage = TokenUsage([[1, 2, 3]], 1)
    message = MessageObject(
        message_id="msg_1", model="m", max_tokens=1, content=blocks, usage=usage
    )
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message.started()}]
    for index, part in enumerate(parts):
        is_last = index == len(parts) - 1
        delta = ChoiceDelta(0, part, [], finish_reason=reason if is_last else None)
        events += json.loads(json.dumps(blocks.add(delta)))
    usage.num_output_tokens = 1
    return message.finished(reason, None), events + message.end_events(reason, None)


def assembled(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The message as the client has it at the end; blocks begin and end in order."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    open_block: int | None = None
    num_blocks = 0
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert open_block is None
                assert event["index"] == num_blocks
                open_block, num_blocks = num_blocks, num_blocks + 1
            case "content_block_delta":
                assert event["index"] == open_block
            case "content_block_stop":
                assert event["index"] == open_block
                open_block = None
            case _:
                assert open_block is None
        typed: Any = construct_type(type_=RawMessageStreamEvent, value=event)
        snapshot = accumulate_event(
            event=typed, current_snapshot=snapshot, json_bufs=buffers, output_format=NOT_GIVEN
        )
    message: dict[str, Any] = snapshot.to_dict()
    for block in message["content"]:
        block.pop("parsed_output", None)
    return message


def divided(text: str, places: list[int]) -> list[str]:
    ends = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[begin:end] for begin, end in itertools.pairwise(ends)] or [""]


@given(
    thoughts,
    pieces,
    cuts,
    st.sampled_from([FinishReason.STOP, FinishReason.LENGTH]),
    st.booleans(),
)
@example("", [], [], FinishReason.STOP, True)
def test_however_an_output_is_cut_the_stream_is_the_whole_message(
    thought: str, rest: list[str], places: list[int], reason: FinishReason, with_thinking: bool
) -> None:
    text = thought + "".join(rest)
    whole, _ = message_of([text], reason, with_thinking=with_thinking)
    streamed, events = message_of(divided(text, places), reason, with_thinking=with_thinking)
    assert streamed == whole
    assert assembled(events) == whole
    if not with_thinking:
        assert all(block["type"] != "thinking" for block in whole["content"])
    if reason is FinishReason.LENGTH:
        assert whole["stop_reason"] == "max_tokens"
