"""Structured outputs of ``headrace serve`` with the default model and the openai client."""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from headrace.testing.processes.server_process import ServerProcess

MODEL = "smollm2-135m"
MESSAGES: Any = [{"role": "user", "content": "Bob is 30 and lives in Paris, Rome and Oslo."}]


class Person(BaseModel):
    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=150)
    mood: Literal["happy", "sad"] | None
    cities: list[str] = Field(max_length=4)


@pytest.fixture(scope="module")
def real_client(real_server: ServerProcess) -> Iterator[openai.OpenAI]:
    url = f"{real_server.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=120.0) as client:
        yield client


def test_pydantic_models_are_parsed(real_client: openai.OpenAI) -> None:
    reply = real_client.chat.completions.parse(
        model=MODEL,
        messages=MESSAGES,
        response_format=Person,
        temperature=1.0,
        seed=3,
        n=3,
        max_completion_tokens=300,
    )
    for choice in reply.choices:
        if choice.finish_reason == "stop":
            assert isinstance(choice.message.parsed, Person)
    assert any(choice.finish_reason == "stop" for choice in reply.choices)


def test_a_stream_is_parsed_to_the_same(real_client: openai.OpenAI) -> None:
    arguments: Any = {
        "model": MODEL,
        "messages": MESSAGES,
        "response_format": Person,
        "temperature": 0,
        "max_completion_tokens": 300,
    }
    whole = real_client.chat.completions.parse(**arguments)
    with real_client.chat.completions.stream(**arguments) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.choices[0].message.parsed == whole.choices[0].message.parsed
    assert isinstance(whole.choices[0].message.parsed, Person)


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"regex": r"[A-Z][a-z]{2,9} is [0-9]{1,3}\."}, r"[A-Z][a-z]{2,9} is [0-9]{1,3}\."),
        ({"choice": ["Paris", "Rome", "Parisian"]}, "Paris|Rome|Parisian"),
        ({"grammar": 'root ::= ("é" | "日本"){2} [0-9]'}, "(é|日本){2}[0-9]"),
    ],
    ids=str,
)
def test_completions_are_constrained(
    real_client: openai.OpenAI, fields: dict[str, Any], pattern: str
) -> None:
    reply = real_client.completions.create(
        model=MODEL,
        prompt=["Bob", "Bob lives in"],
        n=2,
        seed=1,
        max_tokens=60,
        logprobs=2,
        extra_body={"structured_outputs": fields},
    )
    for choice in reply.choices:
        assert choice.finish_reason == "stop"
        assert re.fullmatch(pattern, choice.text)
        assert choice.logprobs is not None
        assert "".join(choice.logprobs.tokens or []).encode()


def test_an_output_that_is_cut_is_a_valid_beginning(real_client: openai.OpenAI) -> None:
    reply = real_client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=4, response_format={"type": "json_object"}
    )
    assert reply.choices[0].finish_reason in ("length", "stop")
    assert (reply.choices[0].message.content or "").startswith("{")


def test_a_cached_prefix_and_a_seed_give_the_same(real_client: openai.OpenAI) -> None:
    texts = {
        real_client.chat.completions.create(
            model=MODEL,
            messages=MESSAGES,
            seed=9,
            max_tokens=200,
            extra_body={"guided_json": Person.model_json_schema()},
        )
        .choices[0]
        .message.content
        for _ in range(2)
    }
    assert len(texts) == 1
    assert json.loads(texts.pop() or "")["cities"] is not None
