"""The Responses API of the real model, with the openai client."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field
from pydantic_core import from_json

from headrace.testing.processes.server_process import ServerProcess

MODEL = "smollm2-135m"
QUESTION = "What is the capital of France?"


class Weather(BaseModel):
    city: str = Field(max_length=20)
    sky: Literal["clear", "cloudy"]


TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {**Weather.model_json_schema(), "additionalProperties": False},
    "strict": True,
}


@pytest.fixture(scope="module")
def real_client(real_server: ServerProcess) -> Iterator[openai.OpenAI]:
    url = f"{real_server.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=120.0) as client:
        yield client


def test_a_conversation_with_memory(real_client: openai.OpenAI) -> None:
    arguments: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_output_tokens": 32}
    first = real_client.responses.create(input=QUESTION, **arguments)
    assert "Paris" in first.output_text
    second = real_client.responses.create(
        input="And of Germany?", previous_response_id=first.id, **arguments
    )
    assert "Berlin" in second.output_text
    chat = real_client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": first.output_text},
            {"role": "user", "content": "And of Germany?"},
        ],
        temperature=0,
    )
    assert second.output_text == chat.choices[0].message.content
    assert second.usage is not None
    assert chat.usage is not None
    assert second.usage.input_tokens == chat.usage.prompt_tokens


def test_a_parsed_response_obeys_its_schema(real_client: openai.OpenAI) -> None:
    parsed = real_client.responses.parse(
        model=MODEL,
        input="The weather in Paris, as JSON.",
        text_format=Weather,
        temperature=0,
        max_output_tokens=100,
    )
    assert parsed.output_parsed is not None
    assert parsed.output_parsed.sky in ("clear", "cloudy")


def test_any_json_object(real_client: openai.OpenAI) -> None:
    reply = real_client.responses.create(
        model=MODEL,
        input="A person with a name, as a short JSON object.",
        text={"format": {"type": "json_object"}},
        temperature=0,
        max_output_tokens=40,
    )
    # A small model writes on and on; so far it is the begin of an object.
    values = from_json(reply.output_text, allow_partial=True)
    assert isinstance(values, dict)
    assert values


def test_a_loop_of_tools(real_client: openai.OpenAI) -> None:
    arguments: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_output_tokens": 120}
    items: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    with real_client.responses.stream(
        input=items, tools=[TOOL], tool_choice="required", parallel_tool_calls=False, **arguments
    ) as stream:
        called = stream.get_final_response()
    [call] = called.output
    assert call.type == "function_call"
    Weather.model_validate(json.loads(call.arguments))
    items += [
        call.to_dict(),
        {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"},
    ]
    for item in items:
        item.pop("parsed_arguments", None)
    answer = real_client.responses.create(
        input=items, tools=[TOOL], tool_choice="none", **arguments
    )
    assert answer.output_text
