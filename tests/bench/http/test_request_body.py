import json

import pytest

from headrace.bench.errors import OptionError
from headrace.bench.http.request_body import RequestEncoder
from headrace.bench.records import BenchTarget, PlannedRequest

TARGET = BenchTarget("t", "http://127.0.0.1:8000", "m", api_key="sk-secret")


def encoder(endpoint="completions", *, target=TARGET, is_streamed=True, extra_body=None):
    return RequestEncoder(target, endpoint, is_streamed=is_streamed, extra_body=extra_body or {})


def body_of(request):
    head, _, body = request.partition(b"\r\n\r\n")
    assert int(head.split(b"Content-Length: ")[1]) == len(body)
    return json.loads(body)


def test_a_streamed_completion_asks_for_usage():
    planned = PlannedRequest(max_tokens=5, prompt="hé", ignore_eos=True)
    one = encoder()
    request = one.encode(planned, one.prompt_of(planned))
    assert request.startswith(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n")
    assert b"\r\nAuthorization: Bearer sk-secret\r\n" in request
    assert body_of(request) == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "prompt": "hé",
        "max_tokens": 5,
        "ignore_eos": True,
    }


def test_extra_body_overrides_other_fields():
    planned = PlannedRequest(max_tokens=5, prompt=(1, 2))
    one = encoder(is_streamed=False, extra_body={"temperature": 0, "max_tokens": 9})
    assert body_of(one.encode(planned, one.prompt_of(planned))) == {
        "model": "m",
        "stream": False,
        "prompt": [1, 2],
        "max_tokens": 9,
        "temperature": 0,
    }


def test_a_text_prompt_is_a_user_message_in_chat():
    planned = PlannedRequest(max_tokens=5, prompt="hi")
    assert encoder("chat").prompt_of(planned) == ({"role": "user", "content": "hi"},)


def test_a_later_turn_follows_the_conversation():
    first = PlannedRequest(max_tokens=5, messages=({"role": "user", "content": "a"},))
    later = PlannedRequest(max_tokens=5, messages=({"role": "user", "content": "c"},), follows=0)
    one = encoder("chat")
    said = one.prompt_of(later, one.prompt_of(first), "b")
    assert [message["content"] for message in said] == ["a", "b", "c"]
    assert [message["role"] for message in said] == ["user", "assistant", "user"]


def test_turns_are_concatenated_in_completions():
    one = encoder()
    assert one.prompt_of(PlannedRequest(max_tokens=1, prompt="c"), "a", "b") == "abc"


@pytest.mark.parametrize(
    ("endpoint", "planned", "reported"),
    [
        ("chat", PlannedRequest(max_tokens=1, prompt=(1,)), "takes no token ids"),
        ("completions", PlannedRequest(max_tokens=1, messages=()), "chat endpoint"),
    ],
)
def test_prompts_unsupported_by_the_endpoint_are_refused(endpoint, planned, reported):
    with pytest.raises(OptionError, match=reported):
        encoder(endpoint).prompt_of(planned)


def test_a_key_cannot_inject_a_header():
    with pytest.raises(OptionError, match="API key") as raised:
        encoder(target=BenchTarget("t", "http://a", "m", api_key="hush\r\nX: y"))
    assert "hush" not in str(raised.value)


def test_a_line_break_in_the_path_is_refused():
    with pytest.raises(OptionError):
        encoder(target=BenchTarget("t", "http://a/ü", "m"))


def test_there_are_two_endpoints():
    with pytest.raises(OptionError, match="completions or chat"):
        encoder("embeddings")
