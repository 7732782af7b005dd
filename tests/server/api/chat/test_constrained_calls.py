"""Required, named and strict calls of the real model, with the openai client.

A model of this size rarely makes a call by itself: that it does, and that the arguments are valid,
is the grammar's doing.
"""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from headrace.testing.processes.server_process import ServerProcess

MESSAGES: Any = [{"role": "user", "content": "What is the weather in Paris tomorrow?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "unit": {"enum": ["celsius", "fahrenheit"]},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
            },
            "required": ["city", "unit", "days"],
            "additionalProperties": False,
        },
    },
}
TIME: Any = {"type": "function", "function": {"name": "get_time"}}


@pytest.fixture(scope="module")
def real_client(real_server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{real_server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def check_call(name: str, arguments: str) -> None:
    values = json.loads(arguments)
    if name == "get_time":
        assert values == {}
        return
    assert name == "get_weather"
    assert values.keys() == {"city", "unit", "days"}
    assert len(values["city"]) <= 20
    assert values["unit"] in ("celsius", "fahrenheit")
    assert 1 <= values["days"] <= 9


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "get_weather"}},
        {"type": "function", "function": {"name": "get_time"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TIME]}},
    ],
    ids=["required", "get_weather", "get_time", "allowed"],
)
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_required_call_obeys_its_schema(
    real_client: openai.OpenAI, choice: Any, temperature: float
) -> None:
    arguments: dict[str, Any] = {
        "model": "smollm2-135m",
        "messages": MESSAGES,
        "tools": [WEATHER, TIME],
        "tool_choice": choice,
        "temperature": temperature,
        "seed": 7,
        "max_tokens": 150,
        "parallel_tool_calls": False,
    }
    whole = real_client.chat.completions.create(**arguments).choices[0]
    assert whole.finish_reason == "tool_calls"
    assert not whole.message.content
    assert whole.message.tool_calls is not None
    [call] = whole.message.tool_calls
    check_call(call.function.name, call.function.arguments)
    if choice != "required":
        named = choice.get("function") or {"name": "get_time"}
        assert call.function.name == named["name"]
    streamed = ["", ""]
    for chunk in real_client.chat.completions.create(**arguments, stream=True):
        for delta in chunk.choices[0].delta.tool_calls or []:
            streamed[0] += delta.function.name or ""
            streamed[1] += delta.function.arguments or ""
    assert streamed == [call.function.name, call.function.arguments]


def test_several_calls_and_choices(real_client: openai.OpenAI) -> None:
    reply = real_client.chat.completions.create(
        model="smollm2-135m",
        messages=MESSAGES,
        tools=[WEATHER, TIME],
        tool_choice="required",
        n=3,
        seed=1,
        max_tokens=120,
    )
    for choice in reply.choices:
        calls = choice.message.tool_calls or []
        for call in calls if choice.finish_reason == "tool_calls" else calls[:-1]:
            check_call(call.function.name, call.function.arguments)
