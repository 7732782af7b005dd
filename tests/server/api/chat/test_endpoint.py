"""/v1/chat/completions with the openai client, on a fake engine core.

The parrot's template ends with the last message, of which it repeats the last 16 bytes.
"""

from collections.abc import Callable
from typing import Any

import openai
import pytest

from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post

CONTENT = "0123456789abcdef"
MESSAGES: Any = [{"role": "user", "content": CONTENT}]


def test_a_message_gets_a_response(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="parrot", messages=MESSAGES, max_tokens=4)
    assert reply.id.startswith("chatcmpl-")
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].message.content == "0123"
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.prompt_tokens == len(">[user]" + CONTENT)
    assert reply.usage.completion_tokens == 4


def test_without_a_limit_the_context_is_the_limit(client: openai.OpenAI) -> None:
    filled = [{"role": "user", "content": "x" * 2000 + CONTENT}]
    reply = client.chat.completions.create(model="parrot", messages=filled)  # type: ignore[arg-type]
    assert reply.usage is not None
    assert reply.usage.total_tokens == 2048
    assert reply.choices[0].finish_reason == "length"


def test_max_completion_tokens_takes_precedence(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="parrot", messages=MESSAGES, max_tokens=9, max_completion_tokens=3
    )
    assert reply.choices[0].message.content == "012"


def test_a_stream_begins_with_the_role_and_ends_with_the_reason(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model="parrot", messages=MESSAGES, max_tokens=4, stream=True)
    )
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert deltas[0].content == ""
    assert [delta.content for delta in deltas[1:]] == ["0", "1", "2", "3"]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 4 + ["length"]
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_choices_of_a_stream_are_distinct(client: openai.OpenAI) -> None:
    texts = ["", ""]
    for chunk in client.chat.completions.create(
        model="parrot", messages=MESSAGES, max_tokens=4, n=2, stream=True
    ):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == ["0123", "0123"]


def test_text_parts_are_joined(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "0123456"}, {"type": "text", "text": "89abcdef"}]
    reply = client.chat.completions.create(
        model="parrot",
        messages=[{"role": "user", "content": parts}],  # type: ignore[list-item,misc]
        max_tokens=16,
    )
    assert reply.choices[0].message.content == "0123456\n89abcdef"


def test_the_developer_role_is_rendered_as_system(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="parrot",
        messages=[{"role": "developer", "content": "12345678"}],
        max_tokens=16,
        extra_body={"return_token_ids": True},
    )
    assert bytes((reply.model_extra or {})["prompt_token_ids"]) == b">[system]12345678"


def test_the_function_role_is_rendered_as_tool(client: openai.OpenAI) -> None:
    def prompt(role: str) -> bytes:
        result: Any = {"role": role, "name": "look_up", "content": "12345678"}
        reply = client.chat.completions.create(
            model="parrot",
            messages=[*MESSAGES, result],
            max_tokens=1,
            extra_body={"return_token_ids": True},
        )
        return bytes((reply.model_extra or {})["prompt_token_ids"])

    assert prompt("function") == prompt("tool")
    assert b"12345678" in prompt("function")


def test_add_generation_prompt_may_be_false(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="parrot",
        messages=MESSAGES,
        max_tokens=1,
        extra_body={"return_token_ids": True, "add_generation_prompt": False},
    )
    assert bytes((reply.model_extra or {})["prompt_token_ids"]).startswith(b"[user]")


@pytest.mark.parametrize("content", ["Once upon a time ", "<", "[assistant]", "\n", "", "{{ x }}"])
def test_the_final_message_may_be_continued(client: openai.OpenAI, content: str) -> None:
    reply = client.chat.completions.create(
        model="parrot",
        messages=[*MESSAGES, {"role": "assistant", "content": content}],
        max_tokens=1,
        extra_body={"return_token_ids": True, "continue_final_message": True},
    )
    prompt = bytes((reply.model_extra or {})["prompt_token_ids"])
    assert prompt.decode() == f"[user]{CONTENT}[assistant]{content}"


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_have_an_entry_for_each_token(client: openai.OpenAI, stream: bool) -> None:
    arguments = {
        "model": "parrot",
        "messages": MESSAGES,
        "max_tokens": 2,
        "logprobs": True,
        "top_logprobs": 2,
    }
    if stream:
        chunks = client.chat.completions.create(**arguments, stream=True)
        logprobs = [chunk.choices[0].logprobs for chunk in chunks]
    else:
        logprobs = [client.chat.completions.create(**arguments).choices[0].logprobs]
    entries = [entry for each in logprobs if each for entry in each.content or []]
    assert [entry.token for entry in entries] == ["0", "1"]
    assert [entry.bytes for entry in entries] == [[48], [49]]
    assert [top.token for top in entries[0].top_logprobs] == ["0", "1"]


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "no role"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0]",
        ),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"extra_body": {"modalities": ["audio"]}}, "modalities"),
        ({"extra_body": {"chat_template": "{{ messages }}"}}, "chat_template"),
    ],
    ids=str,
)
def test_invalid_and_unsupported_fields_are_named(
    client: openai.OpenAI, parameters: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**{"model": "parrot", "messages": MESSAGES, **parameters})
    assert refused.value.param == param


def test_neutral_values_are_accepted(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="parrot",
        messages=MESSAGES,
        max_tokens=1,
        tool_choice="none",
        response_format={"type": "text"},
        user="user-1",
        store=False,
        metadata={"a": "b"},
    )
    assert reply.choices[0].message.content == "0"


def test_exceeding_the_context_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="parrot", messages=[{"role": "user", "content": "x" * 3000}]
        )
    assert refused.value.code == "context_length_exceeded"
    assert refused.value.param == "messages"
    assert "3007" in refused.value.message
    assert "2048" in refused.value.message


def test_models_are_listed_under_all_names(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["parrot", "polly"]
    assert client.models.retrieve("polly").id == "polly"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_the_chat_template_option(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("parrot", "--chat-template", "{{ prefix }}{{ messages[0].content }}")
    body = {"messages": MESSAGES, "max_tokens": 1, "return_token_ids": True}
    for kwargs, prompt in (({}, CONTENT), ({"prefix": "<"}, "<" + CONTENT)):
        more = {**body, "chat_template_kwargs": kwargs}
        reply = post(server.url, "/v1/chat/completions", more).json
        assert bytes(reply["prompt_token_ids"]).decode() == prompt
    refused = post(
        server.url, "/v1/chat/completions", {**body, "chat_template_kwargs": {"messages": []}}
    )
    assert refused.error["param"] == "chat_template_kwargs"
