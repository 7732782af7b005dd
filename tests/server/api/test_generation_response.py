"""Responses in the openai client: vLLM's keys as attributes, continuous usage."""

from typing import Any

import openai
import pytest

PROMPT = "0123456789abcdef"
MESSAGES: Any = [{"role": "user", "content": PROMPT}]

REPLY_KEYS = (
    *("service_tier", "system_fingerprint", "kv_transfer_params", "ec_transfer_params", "metrics"),
)
CHOICE_KEYS = ("stop_reason", "token_ids", "routed_experts")
COMPLETION_CHOICE_KEYS = (*CHOICE_KEYS, "prompt_logprobs", "prompt_token_ids")
CHAT_KEYS = (*REPLY_KEYS, "prompt_logprobs", "prompt_token_ids", "prompt_text")
MESSAGE_KEYS = ("refusal", "annotations", "audio", "function_call", "reasoning", "tool_calls")


def attributes(thing: object, names: tuple[str, ...]) -> list[object]:
    """The attributes, as a user reads them; raises AttributeError for a missing one."""
    return [getattr(thing, name) for name in names]


def test_what_vllm_always_sends_is_null_in_a_completion(client: openai.OpenAI) -> None:
    reply = client.completions.create(model="parrot", prompt=PROMPT, max_tokens=2)
    assert not any(attributes(reply, REPLY_KEYS))
    assert not any(attributes(reply.choices[0], COMPLETION_CHOICE_KEYS))


def test_what_vllm_always_sends_is_null_in_a_chat(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="parrot", messages=MESSAGES, max_tokens=2)
    assert not any(attributes(reply, CHAT_KEYS))
    assert not any(attributes(reply.choices[0], CHOICE_KEYS))
    assert not any(attributes(reply.choices[0].message, MESSAGE_KEYS))


def test_what_vllm_always_sends_is_null_in_chunks(client: openai.OpenAI) -> None:
    completion = client.completions.create(model="parrot", prompt=PROMPT, max_tokens=3, stream=True)
    keys = ("stop_reason", "prompt_token_ids", "token_ids")
    for chunk in completion:
        assert not any(attributes(chunk.choices[0], keys))
    first, *chunks = client.chat.completions.create(
        model="parrot", messages=MESSAGES, max_tokens=3, stream=True
    )
    assert attributes(first, ("prompt_token_ids",)) == [None]
    assert not any(attributes(chunk.choices[0], ("token_ids",))[0] for chunk in chunks)
    assert attributes(chunks[-1].choices[0], ("stop_reason",)) == [None]


def usages(chunks: Any) -> list[int | None]:
    return [chunk.usage and chunk.usage.completion_tokens for chunk in chunks]


def stream_options(**options: bool | None) -> Any:
    return {"model": "parrot", "stream": True, "stream_options": options}


def test_continuous_usage_counts_sent_tokens(client: openai.OpenAI) -> None:
    options = stream_options(include_usage=True, continuous_usage_stats=True)
    completion = client.completions.create(prompt=PROMPT, max_tokens=3, **options)
    assert usages(completion) == [1, 2, 3, 3]
    chat = list(client.chat.completions.create(messages=MESSAGES, max_tokens=3, **options))
    assert usages(chat) == [0, 1, 2, 3, 3]
    assert chat[0].usage.total_tokens == chat[0].usage.prompt_tokens


def test_the_first_chunk_of_a_choice_counts_no_token(client: openai.OpenAI) -> None:
    options = stream_options(include_usage=True, continuous_usage_stats=True)
    chunks = list(client.chat.completions.create(messages=MESSAGES, max_tokens=2, n=2, **options))
    num_sent = 0
    for chunk in chunks[:-1]:
        num_sent += bool(chunk.choices[0].delta.content)
        assert chunk.usage.completion_tokens == num_sent


@pytest.mark.parametrize("include_usage", [False, None])
def test_without_include_usage_there_is_no_usage(
    client: openai.OpenAI, include_usage: bool | None
) -> None:
    options = stream_options(include_usage=include_usage, continuous_usage_stats=True)
    completion = list(client.completions.create(prompt=PROMPT, max_tokens=3, **options))
    assert usages(completion) == [None] * 3
    chat = list(client.chat.completions.create(messages=MESSAGES, max_tokens=3, **options))
    assert usages(chat) == [None] * 4
