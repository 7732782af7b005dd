"""The stream of a response, assembled as its events say, is the whole response."""

import itertools
import json
from typing import Any

import openai
from hypothesis import example, given
from hypothesis import strategies as st
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

from headrace.core.generation.outputs import ChoiceDelta, FinishReason
from headrace.server.api.responses.output_items import OutputItems
from headrace.server.parsing.answer_stream import AnswerStream
from headrace.server.parsing.output_parser import OutputParser
from headrace.testing.tool_outputs import TOOLS, WRITERS, syntax

SYNTAX = syntax("hermes", "qwen3")
CALL = WRITERS["hermes"]([("get_weather", {"city": "Zürich", "days": 2})])
pieces = st.lists(
    st.sampled_from(
        [
            *(
                "Hello",
                " wor",
                "ld.\n",
                "\n",
                "é€",
                CALL,
                f"\n{CALL}\n",
                "<tool_call>\n{",
                "<tool_",
            ),
            '<tool_call>\n{"name": "search", "arguments": {"a',
        ]
    ),
    max_size=6,
)
thoughts = st.sampled_from(
    ["", "<think>\nHm.\n</think>\n\n", "<think>\nHm, ", f"<think>\n{CALL}", "<think></think>"]
)
cuts = st.lists(st.integers(0, 10_000), max_size=20)


def output_of(parts: list[str], reason: FinishReason) -> tuple[OutputItems, list[dict[str, Any]]]:
    """The output items, and the events of all deltas."""
    ids = (f"call_{number}" for number in itertools.count())
    answers = AnswerStream(
        lambda: OutputParser(SYNTAX, tools=TOOLS, new_id=lambda: next(ids)), special_tokens={}
    )
    output = OutputItems(answers, tokenizer=None)  # type: ignore[arg-type]  # for log-probabilities
    events = []
    for index, part in enumerate(parts):
        is_last = index == len(parts) - 1
        delta = ChoiceDelta(0, part, [1], finish_reason=reason if is_last else None)
        events += json.loads(json.dumps(output.add(delta)))
    return output, events


def assembled(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items, from the deltas; what the events repeat is what was assembled."""
    items: list[dict[str, Any]] = []
    is_open = False
    for event in events:
        kind = event["type"]
        if kind == "response.output_item.added":
            assert not is_open
            is_open = True
            assert event["item"]["status"] == "in_progress"
            items.append(event["item"])
        assert is_open
        assert event["output_index"] == len(items) - 1
        item = items[-1]
        assert event.get("item_id", item["id"]) == item["id"]
        match kind.removeprefix("response."):
            case "content_part.added":
                assert item["content"] == []
                item["content"] = [event["part"]]
            case "output_text.delta":
                item["content"][0]["text"] += event["delta"]
                item["content"][0]["logprobs"] += event["logprobs"]
            case "reasoning_text.delta":
                item["content"][0]["text"] += event["delta"]
            case "function_call_arguments.delta":
                item["arguments"] += event["delta"]
            case "output_text.done" | "reasoning_text.done":
                assert event["text"] == item["content"][0]["text"]
            case "function_call_arguments.done":
                assert event["arguments"] == item["arguments"]
            case "content_part.done":
                assert event["part"] == item["content"][0]
            case "output_item.done":
                item["status"] = event["item"]["status"]
                assert event["item"] == item
                assert item["status"] in ("completed", "incomplete")
                is_open = False
            case other:
                assert other == "output_item.added"
    assert not is_open
    return items


def without_ids(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: item[name] for name in item if name != "id"} for item in items]


def divided(text: str, places: list[int]) -> list[str]:
    ends = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[begin:end] for begin, end in itertools.pairwise(ends)] or [""]


@given(thoughts, pieces, cuts, st.sampled_from([FinishReason.STOP, FinishReason.LENGTH]))
@example("", [], [], FinishReason.STOP)
def test_however_an_output_is_cut_the_stream_is_the_whole_response(
    thought: str, rest: list[str], places: list[int], reason: FinishReason
) -> None:
    text = thought + "".join(rest)
    whole, _ = output_of([text], reason)
    streamed, events = output_of(divided(text, places), reason)
    assert without_ids(streamed.items) == without_ids(whole.items)
    assert assembled(events) == streamed.items
    assert streamed.items
    is_cut = streamed.items[-1]["status"] == "incomplete"
    if streamed.items[-1]["type"] != "function_call":
        assert is_cut is (reason is FinishReason.LENGTH)


@given(thoughts, pieces, cuts)
def test_the_clients_own_assembly_accepts_every_stream(
    thought: str, rest: list[str], places: list[int]
) -> None:
    output, events = output_of(divided(thought + "".join(rest), places), FinishReason.STOP)
    response = {"id": "r", "object": "response", "output": [], "tools": [], "status": "in_progress"}
    done = {**response, "output": output.items, "status": "completed"}
    state: ResponseStreamState[Any] = ResponseStreamState(
        input_tools=openai.omit, text_format=openai.omit
    )
    for number, event in enumerate(
        [
            {"type": "response.created", "response": response},
            *events,
            {"type": "response.completed", "response": done},
        ]
    ):
        state.handle_event(_typed({**event, "sequence_number": number}))
    completed = state._completed_response
    assert completed is not None
    assert [item.type for item in completed.output] == [item["type"] for item in output.items]


def _typed(event: dict[str, Any]) -> Any:
    """The event as the client parses it."""

    return construct_type(type_=ResponseStreamEvent, value=event)


def test_tokens_of_reasoning_are_counted() -> None:
    parts = ["<think>", "\n", "Hm", ", so", "</think>", "\n\n", "It", " is", " warm."]
    output, _ = output_of(parts, FinishReason.STOP)
    # The markers before and the reasoning; the end marker belongs to what follows.
    assert output.num_reasoning_tokens == 4
