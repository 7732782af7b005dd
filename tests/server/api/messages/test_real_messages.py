"""The Messages API of the real model, with the anthropic client."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from headrace.testing.processes.server_process import ServerProcess

MODEL = "smollm2-135m"
QUESTION: Any = {"role": "user", "content": "What is the capital of France?"}
GREEDY: Any = {"model": MODEL, "extra_body": {"temperature": 0}}
TOOL: Any = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "days": {"enum": [1, 2]}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def real_client(real_server: ServerProcess) -> Iterator[anthropic.Anthropic]:
    url = real_server.url
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=120.0) as client:
        yield client


def test_the_capital_of_france(real_client: anthropic.Anthropic) -> None:
    whole = real_client.messages.create(messages=[QUESTION], max_tokens=32, **GREEDY)
    assert whole.stop_reason == "end_turn"
    [block] = whole.content
    assert block.type == "text"
    assert "Paris" in block.text
    with real_client.messages.stream(messages=[QUESTION], max_tokens=32, **GREEDY) as stream:
        assert "".join(stream.text_stream) == block.text
        assert stream.get_final_message().usage.output_tokens == whole.usage.output_tokens
    counted = real_client.messages.count_tokens(model=MODEL, messages=[QUESTION])
    usage = whole.usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_the_text_obeys_a_schema(real_client: anthropic.Anthropic) -> None:
    output_format: Any = {"type": "json_schema", "schema": TOOL["input_schema"]}
    reply = real_client.messages.create(
        messages=[{"role": "user", "content": "The weather in Paris, as JSON."}],
        max_tokens=100,
        output_config={"format": output_format},
        **GREEDY,
    )
    [block] = reply.content
    assert block.type == "text"
    values = json.loads(block.text)
    assert values.keys() == {"city", "days"}
    assert values["days"] in (1, 2)


def test_a_loop_of_tools(real_client: anthropic.Anthropic) -> None:
    messages: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    with real_client.messages.stream(
        messages=messages,
        max_tokens=120,
        tools=[TOOL],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        **GREEDY,
    ) as stream:
        called = stream.get_final_message()
    assert called.stop_reason == "tool_use"
    [call] = called.content
    assert call.type == "tool_use"
    assert call.input.keys() == {"city", "days"}
    assert call.input["days"] in (1, 2)
    messages += [
        called.to_param(),
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "18 degrees"}],
        },
    ]
    answer = real_client.messages.create(
        messages=messages, max_tokens=40, tools=[TOOL], tool_choice={"type": "none"}, **GREEDY
    )
    assert answer.content[0].type == "text"
