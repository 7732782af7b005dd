"""``echo`` with ``logprobs``, ``prompt_logprobs`` and ``max_tokens: 0``, as evaluation harnesses
send them. The parrot's tokens are bytes.
"""

from typing import Any

import openai
import pytest

from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post

PROMPT = "0123456789abcdef"
EMOJI = "😀🎉🐦🌍"  # 16 bytes: four tokens per character


def joined(choices: list[Any]) -> tuple[str, dict[str, list[Any]]]:
    """The text and the log-probabilities of one choice, from its parts."""
    text = "".join(choice.text for choice in choices)
    rows: dict[str, list[Any]] = {}
    for choice in choices:
        for name, row in (choice.logprobs.model_dump() if choice.logprobs else {}).items():
            rows.setdefault(name, []).extend(row)
    return text, rows


@pytest.mark.parametrize("max_tokens", [0, 4, 20])
@pytest.mark.parametrize("prompt", [PROMPT, EMOJI, list(PROMPT.encode())], ids=str)
def test_an_echoed_prompt_has_logprobs(client: openai.OpenAI, prompt: Any, max_tokens: int) -> None:
    arguments = {
        "model": "parrot",
        "prompt": prompt,
        "echo": True,
        "logprobs": 2,
        "max_tokens": max_tokens,
        "n": 2,
    }
    reply = client.completions.create(**arguments)
    streamed: dict[int, list[Any]] = {0: [], 1: []}
    for chunk in client.completions.create(**arguments, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices
    text = prompt if isinstance(prompt, str) else PROMPT
    for choice in reply.choices:
        whole, rows = joined([choice])
        assert (whole, rows) == joined(streamed[choice.index])
        assert whole.encode() == (text.encode() * 3)[: 16 + max_tokens]
        assert choice.finish_reason == "length"
        assert {len(row) for row in rows.values()} == {16 + max_tokens}
        assert rows["token_logprobs"][0] is rows["top_logprobs"][0] is None
        for token, logprob, top in list(
            zip(rows["tokens"], rows["token_logprobs"], rows["top_logprobs"], strict=True)
        )[1:]:
            assert top[token] == logprob
            assert len(top) == 2
        expected = [
            len(whole.encode()[:position].decode(errors="ignore"))
            for position in range(16 + max_tokens)
        ]
        assert rows["text_offset"] == expected
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 2 * max_tokens


def test_special_tokens_that_the_text_does_not_show_have_no_length(client: openai.OpenAI) -> None:
    for prompt, offsets in (("a<eos>b", [0, 1, 6]), ([97, 256, 98], [0, 1, 1])):
        reply = client.completions.create(
            model="parrot", prompt=prompt, echo=True, logprobs=0, max_tokens=0
        )
        assert reply.choices[0].logprobs is not None
        assert reply.choices[0].logprobs.tokens == ["a", "<eos>", "b"]
        assert reply.choices[0].logprobs.text_offset == offsets


def test_without_tokens_the_answer_is_empty(server: ServerProcess) -> None:
    for path, body in (
        ("/v1/completions", {"prompt": "hi"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    ):
        reply = post(server.url, path, {**body, "max_tokens": 0}).json
        [choice] = reply["choices"]
        assert choice.get("text", choice.get("message", {}).get("content")) == ""
        assert choice["finish_reason"] == "length"
        assert reply["usage"]["completion_tokens"] == 0


def test_prompt_logprobs_are_listed_by_token(server: ServerProcess) -> None:
    body = {"max_tokens": 1, "prompt_logprobs": 1}
    text = {**body, "prompt": "abc"}
    expected = [
        None,
        *({str(ord(each)): {"logprob": -1.0, "rank": 1, "decoded_token": each}} for each in "bc"),
    ]
    [choice] = post(server.url, "/v1/completions", text).json["choices"]
    assert choice["prompt_logprobs"] == expected
    assert choice["logprobs"] is None
    chat = {**body, "messages": [{"role": "user", "content": "abc"}]}
    reply = post(server.url, "/v1/chat/completions", chat).json
    assert reply["prompt_logprobs"][-2:] == expected[-2:]
    assert len(reply["prompt_logprobs"]) == reply["usage"]["prompt_tokens"]


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_may_be_written_as_ids(client: openai.OpenAI, stream: bool) -> None:
    extra = {"return_tokens_as_token_ids": True, "logprob_token_ids": [5, 97]}
    arguments = {"model": "parrot", "max_tokens": 2, "extra_body": extra, "stream": stream}
    reply: Any = client.completions.create(prompt="ab" * 8, logprobs=1, **arguments)
    _, rows = joined([chunk.choices[0] for chunk in reply] if stream else reply.choices)
    assert rows["tokens"] == ["token_id:97", "token_id:98"]
    chat: Any = client.chat.completions.create(
        messages=[{"role": "user", "content": "ab" * 8}], logprobs=True, **arguments
    )
    choices = [chunk.choices[0] for chunk in chat] if stream else chat.choices
    tokens = [entry.token for each in choices if each.logprobs for entry in each.logprobs.content]
    assert tokens == ["token_id:97", "token_id:98"]
