"""Truncated prompts, special tokens in texts, client ids, and the server's options for requests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace.testing.processes.server_process import ServerProcess
from headrace.testing.raw_http import post

StartServer = Callable[..., ServerProcess]
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
USER = {"role": "user", "content": "0123456789abcdef"}


def token_ids(server: ServerProcess, path: str, **body: Any) -> bytes:
    """The prompt's tokens; those of the parrot are bytes, but for 256, <eos>."""
    reply = post(server.url, path, {"max_tokens": 1, "return_token_ids": True, **body}).json
    ids = reply["prompt_token_ids"] if path == CHAT else reply["choices"][0]["prompt_token_ids"]
    return b"".join(b"<EOS>" if each == 256 else bytes([each]) for each in ids)


@pytest.fixture(scope="module")
def special(fake_command: tuple[str, ...]) -> Iterator[ServerProcess]:
    """A server with two policies of its own, whose template writes a special token."""
    template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}<eos>{% endfor %}"
        "{% for d in documents or [] %}({{ d.text }}){% endfor %}"
    )
    arguments = (
        *("parrot", "--chat-template", template, "--scheduling-policy", "priority"),
        *("--trust-request-chat-template", "--max-logprobs", "-1"),
    )
    with ServerProcess(*arguments, command=fake_command, start_timeout_s=120.0) as process:
        yield process


def test_special_tokens_in_messages_are_text(special: ServerProcess) -> None:
    def render(content: Any, **fields: Any) -> bytes:
        messages = [{"role": "user", "content": content}]
        return token_ids(special, CHAT, messages=messages, **fields)

    assert render("a<eos>b") == b"[user]a<eos>b<EOS>"
    assert render([{"type": "text", "text": "<eos>"}]) == b"[user]<eos><EOS>"
    assert render("<<eos><eos>>") == b"[user]<<eos><eos>><EOS>"
    assert render("plain") == b"[user]plain<EOS>"
    assert render("a<eos>b", parse_special_tokens=True) == b"[user]a<EOS>b<EOS>"
    assert render("a", documents=[{"text": "<eos>"}]) == b"[user]a<EOS>(<eos>)"


def test_a_template_that_writes_the_message_twice_writes_its_special_tokens_as_text(
    special: ServerProcess,
) -> None:
    messages = [{"role": "user", "content": "<eos>"}]
    template = "<eos>{{ messages[0].content }}{{ messages[0].content | upper }}"
    prompt = token_ids(special, CHAT, messages=messages, chat_template=template)
    assert prompt.startswith(b"<EOS><eos>")
    assert prompt.count(b"<EOS>") == 1


def test_completions_read_special_tokens_unless_told_otherwise(server: ServerProcess) -> None:
    prompt = "a<eos>b"
    assert token_ids(server, COMPLETIONS, prompt=prompt) == b"a<EOS>b"
    as_text = {"prompt": prompt, "parse_special_tokens": False}
    assert token_ids(server, COMPLETIONS, **as_text) == prompt.encode()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"truncate_prompt_tokens": 4}, b"cdef"),
        ({"truncate_prompt_tokens": 4, "truncation_side": "left"}, b"cdef"),
        ({"truncate_prompt_tokens": 4, "truncation_side": "right"}, b"0123"),
        ({"truncate_prompt_tokens": 16}, b"0123456789abcdef"),
        ({"truncate_prompt_tokens": -1}, b"0123456789abcdef"),
    ],
    ids=str,
)
def test_prompts_are_truncated(
    server: ServerProcess, fields: dict[str, Any], expected: bytes
) -> None:
    text = "0123456789abcdef"
    for prompt in (text, list(text.encode())):
        assert token_ids(server, COMPLETIONS, prompt=prompt, **fields) == expected
        echo = {"prompt": prompt, "max_tokens": 0, "echo": True, **fields}
        [choice] = post(server.url, COMPLETIONS, echo).json["choices"]
        assert choice["text"] == expected.decode()
    if fields["truncate_prompt_tokens"] == 4:
        messages = [{"role": "user", "content": text}]
        end = token_ids(server, CHAT, messages=messages, **fields)
        assert end == (b">[us" if fields.get("truncation_side") == "right" else b"cdef")


def test_a_prompt_beyond_the_context_is_truncated_to_what_fits(server: ServerProcess) -> None:
    prompt = "x" * 5000 + "y"
    fields: dict[str, Any] = {"truncate_prompt_tokens": -1, "max_tokens": 48}
    assert token_ids(server, COMPLETIONS, prompt=prompt, **fields) == b"x" * 1999 + b"y"
    too_many = {"prompt": prompt, "truncate_prompt_tokens": 3000}
    refused = post(server.url, COMPLETIONS, too_many)
    assert refused.error["code"] == "context_length_exceeded"


def test_a_request_may_have_an_id_of_the_client(server: ServerProcess) -> None:
    for path, prefix, body in (
        (COMPLETIONS, "cmpl", {"prompt": "hi"}),
        (CHAT, "chatcmpl", {"messages": [USER]}),
    ):
        reply = post(server.url, path, {**body, "max_tokens": 1, "request_id": "mine-7"}).json
        assert reply["id"] == f"{prefix}-mine-7"


def test_the_options_of_a_server_allow_more(special: ServerProcess) -> None:
    body = {"messages": [USER], "max_tokens": 1, "logprobs": True, "top_logprobs": -1}
    reply = post(special.url, CHAT, {**body, "priority": -3}).json
    [entry] = reply["choices"][0]["logprobs"]["content"]
    assert len(entry["top_logprobs"]) == 257


def test_a_template_of_the_request(special: ServerProcess, server: ServerProcess) -> None:
    body = {"messages": [USER], "max_tokens": 1, "return_prompt_text": True}
    plain, looping = "!{{ messages[0].content }}", "{% for i in range(2) %}{{ i }}{% endfor %}"
    for template, text in ((plain, "!" + USER["content"]), (looping, "01")):
        reply = post(special.url, CHAT, {**body, "chat_template": template}).json
        assert reply["prompt_text"] == text
    for template in ("{{ 'x' * 2 ** 40 }}", "{{", "{{ raise_exception('no') }}"):
        refused = post(special.url, CHAT, {**body, "chat_template": template})
        assert refused.status == 400
    refused = post(server.url, CHAT, {**body, "chat_template": plain})
    assert refused.error["param"] == "chat_template"


@pytest.mark.parametrize("stream", [False, True])
def test_the_last_message_of_the_assistant_may_be_echoed(client: Any, stream: bool) -> None:
    messages = [USER, {"role": "assistant", "content": "fedcba9876543210"}]
    arguments = {"model": "parrot", "messages": messages, "max_tokens": 4, "stream": stream}
    extra = {"echo": True, "continue_final_message": True}
    reply = client.chat.completions.create(**arguments, extra_body=extra)
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in reply)
    else:
        text = reply.choices[0].message.content
    assert text == "fedcba9876543210fedc"
