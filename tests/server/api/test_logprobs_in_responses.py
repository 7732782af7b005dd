"""Log-probabilities of tokens that are parts of characters, and text offsets.

The parrot's tokens are bytes; it repeats the prompt's last 16 over and over.
"""

from typing import Any

import openai
import pytest

EMOJI = "😀🎉🐦🌍"  # 16 bytes: four tokens per character
MIXED = "é-ü😀 a\\é\n0"  # 16 bytes
LETTERS = "0123456789abcdef"


def logprobs_of(
    client: openai.OpenAI, stream: bool, **arguments: Any
) -> tuple[str, dict[str, list[Any]]]:
    """The text of the choice and its log-probabilities."""
    if not stream:
        [choice] = client.completions.create(model="parrot", **arguments).choices
        choices: list[Any] = [choice]
    else:
        chunks = client.completions.create(model="parrot", stream=True, **arguments)
        choices = [chunk.choices[0] for chunk in chunks]
    rows: dict[str, list[Any]] = {
        name: [] for name in ("text_offset", "token_logprobs", "tokens", "top_logprobs")
    }
    text = ""
    for choice in choices:
        text += choice.text
        if choice.logprobs is None:
            continue
        for name, row in rows.items():
            row += getattr(choice.logprobs, name)
        assert max(rows["text_offset"]) <= len(text)  # within the text that was sent
    return text, rows


def token_bytes(token: str) -> bytes:
    """The bytes of a token."""
    if not token.startswith("bytes:"):
        return token.encode()
    return token.removeprefix("bytes:").encode().decode("unicode_escape").encode("latin-1")


@pytest.mark.parametrize("prompt", [EMOJI, MIXED, LETTERS], ids=["emoji", "mixed", "letters"])
@pytest.mark.parametrize("stream", [False, True])
def test_each_token_has_its_own_key_and_offset(
    client: openai.OpenAI, prompt: str, stream: bool
) -> None:
    assert len(prompt.encode()) == 16
    text, rows = logprobs_of(client, stream, prompt=prompt, max_tokens=32, logprobs=5)
    assert text == prompt * 2
    assert b"".join(map(token_bytes, rows["tokens"])) == text.encode()
    for token, top, logprob in zip(
        rows["tokens"], rows["top_logprobs"], rows["token_logprobs"], strict=True
    ):
        assert len(top) == 5
        assert top[token] == logprob
    assert rows["text_offset"] == sorted(rows["text_offset"])
    # A token's text starts where the text of the preceding tokens ends.
    expected = [
        len(text.encode()[:position].decode(errors="ignore"))
        for position in range(len(text.encode()))
    ]
    assert rows["text_offset"] == expected


@pytest.mark.parametrize("prompt", [EMOJI, MIXED, LETTERS])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"stop": "😀"},
        {"stop": ["0é", "9ab"]},
        {"stop": ["89abcdef0123456789", "xyz"]},
        {"stop": ["ab"], "extra_body": {"include_stop_str_in_output": True}},
        {"extra_body": {"stop_token_ids": [ord("a")]}},
        {"n": 2},
    ],
    ids=str,
)
def test_a_stream_has_the_same_logprobs(
    client: openai.OpenAI, prompt: str, more: dict[str, Any]
) -> None:
    arguments = {"model": "parrot", "prompt": prompt, "max_tokens": 25, "logprobs": 2, **more}
    whole = client.completions.create(**arguments)
    streamed: dict[int, dict[str, list[Any]]] = {}
    for chunk in client.completions.create(stream=True, **arguments):
        for choice in chunk.choices:
            rows = streamed.setdefault(choice.index, {})
            if choice.logprobs is not None:
                for name, row in choice.logprobs.model_dump().items():
                    rows.setdefault(name, []).extend(row)
    for choice in whole.choices:
        assert choice.logprobs is not None
        assert streamed[choice.index] == choice.logprobs.model_dump()
        assert all(offset <= len(choice.text) for offset in choice.logprobs.text_offset or [])


def test_the_bytes_of_a_chats_tokens_are_its_text(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": EMOJI}]
    arguments = {"model": "parrot", "messages": messages, "max_tokens": 16, "logprobs": True}
    arguments["top_logprobs"] = 5
    whole = client.chat.completions.create(**arguments)
    assert whole.choices[0].logprobs is not None
    entries = whole.choices[0].logprobs.content or []
    assert bytes(byte for entry in entries for byte in entry.bytes or []).decode() == EMOJI
    assert [entry.token for entry in entries[:4]] == ["\\xf0", "\\x9f", "\\x98", "\\x80"]
    for entry in entries:
        tops = [(top.token, tuple(top.bytes or ())) for top in entry.top_logprobs]
        assert len(set(tops)) == 5
        assert tops[0] == (entry.token, tuple(entry.bytes or ()))
    chunks = client.chat.completions.create(**arguments, stream=True)
    streamed = [
        entry
        for chunk in chunks
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs.content or []
    ]
    assert streamed == entries
