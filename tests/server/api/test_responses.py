"""What the openai client finds in replies: vLLM's keys as attributes, and the usage so far."""

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
    """Raises AttributeError where the client would for its user."""
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


def test_the_usage_so_far_counts_what_has_been_sent(client: openai.OpenAI) -> None:
    options = stream_options(include_usage=True, continuous_usage_stats=True)
    completion = client.completions.create(prompt=PROMPT, max_tokens=3, **options)
    assert usages(completion) == [1, 2, 3, 3]
    chat = list(client.chat.completions.create(messages=MESSAGES, max_tokens=3, **options))
    assert usages(chat) == [0, 1, 2, 3, 3]
    assert chat[0].usage.total_tokens == chat[0].usage.prompt_tokens


def test_choices_that_begin_count_no_token_of_theirs(client: openai.OpenAI) -> None:
    options = stream_options(include_usage=True, continuous_usage_stats=True)
    chunks = list(client.chat.completions.create(messages=MESSAGES, max_tokens=2, n=2, **options))
    num_sent = 0
    for chunk in chunks[:-1]:
        num_sent += bool(chunk.choices[0].delta.content)
        assert chunk.usage.completion_tokens == num_sent


@pytest.mark.parametrize("include_usage", [False, None])
def test_without_include_usage_no_usage_comes(
    client: openai.OpenAI, include_usage: bool | None
) -> None:
    options = stream_options(include_usage=include_usage, continuous_usage_stats=True)
    completion = list(client.completions.create(prompt=PROMPT, max_tokens=3, **options))
    assert usages(completion) == [None] * 3
    chat = list(client.chat.completions.create(messages=MESSAGES, max_tokens=3, **options))
    assert usages(chat) == [None] * 4
