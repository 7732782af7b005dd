"""Model and usage are read of responses, and nothing else is taken for them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.http.sse_guard import SseGuard
from headrace.gateway.http.usage import (
    MAX_BODY_BYTES,
    ModelAndUsage,
    is_preamble,
    read_body,
    read_first_event,
    read_last_event,
)

USAGE = {
    "prompt_tokens": 37,
    "completion_tokens": 8,
    "total_tokens": 45,
    "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
tricky_texts = st.one_of(
    st.text(max_size=50),
    st.sampled_from(
        [
            '"usage":{"prompt_tokens":99,"completion_tokens":99}',
            '\n\ndata: {"usage":{"prompt_tokens":99}}\n\n',
            '"model":"wrong"',
            '{"usage": {"prompt_tokens": 99}}',
        ]
    ),
)
models = st.text("abcXYZ/.:-_0", min_size=1, max_size=40)
tokens = st.tuples(*[st.integers(0, 2**53)] * 3)


def counts(read: ModelAndUsage) -> tuple[int, int, int] | None:
    usage = read.usage
    if usage is None:
        return None
    return usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens


def usage_of(counts: tuple[int, int, int]) -> dict[str, Any]:
    prompt, completion, cached = counts
    details = {"cached_tokens": cached} if cached else None
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": details,
    }


@given(text=tricky_texts, model=models, given_tokens=tokens)
def test_a_completion_is_read_whatever_its_text_says(
    text: str, model: str, given_tokens: tuple[int, int, int]
) -> None:
    body = {
        "id": text,
        "choices": [{"text": text, "usage": 1, "model": text}],
        "model": model,
        "usage": usage_of(given_tokens),
        "x": text,
    }
    read = read_body(json.dumps(body).encode())
    assert counts(read) == given_tokens
    assert read.model == model


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
@pytest.mark.parametrize("begin", ["data: ", "data:"])
@given(
    texts=st.lists(tricky_texts, min_size=1, max_size=5),
    model=models,
    given_tokens=tokens,
    has_usage=st.booleans(),
    data=st.data(),
)
def test_a_stream_is_read_however_it_is_cut(
    begin: str,
    end: str,
    texts: list[str],
    model: str,
    given_tokens: tuple[int, int, int],
    has_usage: bool,
    data: st.DataObject,
) -> None:
    """Usage is in the last event before ``[DONE]``, which may come in a part of its own."""
    events = [json.dumps({"model": model, "choices": [{"text": text}]}) for text in texts]
    if has_usage:
        events = [event[:-1] + ',"usage":null}' for event in events]
        last = {"model": model, "choices": [], "usage": usage_of(given_tokens)}
        events.append(json.dumps(last, separators=(",", ":")))
    stream = "".join(f"{begin}{event}{end}" for event in [*events, "[DONE]"]).encode()
    cuts = data.draw(st.lists(st.integers(1, len(stream) - 1), unique=True, max_size=6))
    guard = SseGuard()
    forwarded = []
    for at, until in zip([0, *sorted(cuts)], [*sorted(cuts), len(stream)], strict=True):
        if part := guard.feed(stream[at:until]):
            forwarded.append(part)
    assert b"".join(forwarded) == stream
    read = read_last_event(guard.last_parts)
    assert counts(read) == (given_tokens if has_usage else None)
    assert read.model == (model if has_usage else "")
    assert read_first_event(forwarded[0]).model == model


def test_usage_of_openai_and_vllm_and_embeddings() -> None:
    for usage in (USAGE, {**USAGE, "prompt_tokens_details": None}, {"prompt_tokens": 37}):
        read = read_body(json.dumps({"model": "m", "usage": usage}).encode())
        assert read.usage is not None
        assert read.usage.prompt_tokens == 37
    embeddings = {"data": [0.5] * 2000, "model": "m", "usage": {"prompt_tokens": 3}}
    read = read_body(json.dumps(embeddings).encode())
    assert (read.model, counts(read)) == ("m", (3, 0, 0))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"usage":null}',
        b'{"usage":{"prompt_tokens":-1}}',
        b'{"usage":{"prompt_tokens":1e400}}',
        b'{"usage":{"prompt_tokens":99999999999999999999}}',
        b'{"usage":{"prompt_tokens":"1"}}',
        b'{"usage":[{"prompt_tokens":1}]}',
        b'{"model":1,"usage":{"prompt_tokens":1}}',
        b'{"model":"\\ud800"}',
        b'{"model":"\xff"}',
        bytes(range(256)) * 10,
    ],
)
def test_what_has_another_shape_has_no_model_and_no_usage(body: bytes) -> None:
    for read in (read_body(body), read_first_event(b"data: " + body), read_last_event((body,))):
        assert (read.model, read.usage) == ("", None)


def test_a_long_body_is_not_read() -> None:
    body = b'{"usage":{"prompt_tokens":1},"x":"%b"}' % (b"x" * MAX_BODY_BYTES)
    assert read_body(body).usage is None
    assert read_body(body[: MAX_BODY_BYTES - 2] + b'"}').usage is not None


RESPONSES = {
    "model": "m",
    "usage": {
        "input_tokens": 37,
        "input_tokens_details": {"cached_tokens": 16},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 45,
    },
}
MESSAGES = {
    "model": "m",
    "usage": {
        "input_tokens": 20,
        "cache_read_input_tokens": 16,
        "cache_creation_input_tokens": 1,
        "output_tokens": 8,
    },
}


@pytest.mark.parametrize("body", [RESPONSES, MESSAGES])
def test_usage_of_responses_and_messages(body: dict[str, Any]) -> None:
    """As bodies, and in events of their streams."""
    reads = [read_body(json.dumps(body).encode())]
    for field in ("response", "message"):
        data = json.dumps({"type": "x", field: body}, separators=(",", ":"))
        event = f"event: x\ndata: {data}\n\n".encode()
        reads += [read_first_event(event), read_last_event((event,))]
    for read in reads:
        assert (read.model, counts(read)) == ("m", (37, 8, 16))


@given(text=tricky_texts, given_tokens=tokens)
def test_a_response_is_read_whatever_its_text_says(
    text: str, given_tokens: tuple[int, int, int]
) -> None:
    prompt, completion, cached = given_tokens
    usage = {
        "input_tokens": prompt,
        "output_tokens": completion,
        "input_tokens_details": {"cached_tokens": cached},
    }
    response = {"output": [{"text": text}], "model": "m", "usage": usage, "user": text}
    event = {"type": "response.completed", "response": response, "sequence_number": 9}
    data = json.dumps(event, separators=(",", ":"))
    read = read_last_event((f"event: response.completed\ndata: {data}\n\n".encode(),))
    assert (read.model, counts(read)) == ("m", given_tokens)


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "response": "text", "usage": USAGE},
        {"model": "m", "message": {"role": "assistant", "usage": 1}, "usage": USAGE},
        {"model": "m", "message": None, "usage": USAGE},
    ],
)
def test_fields_of_other_apis_with_these_names_do_no_harm(body: dict[str, Any]) -> None:
    read = read_body(json.dumps(body).encode())
    assert (read.model, counts(read)) == ("m", (37, 8, 16))


CREATED = b"event: response.created\ndata: {}\n\n"
STARTED = b"event: message_start\ndata: {}\n\n"


@pytest.mark.parametrize(
    ("part", "has_no_token"),
    [
        (CREATED, True),
        (CREATED + b"event: response.in_progress\ndata: {}\n\n", True),
        (STARTED + b"event: ping\ndata: {}\n\n", True),
        (STARTED + b"event: content_block_start\ndata: {}\n\n", False),
        (CREATED + b"event: response.output_item.added\ndata: {}\n\n", False),
        (b"event: content_block_delta\ndata: {}\n\n", False),
        (b'data: {"choices":[]}\n\n', False),
        (b"", False),
    ],
)
def test_the_begin_of_a_stream_has_no_token(part: bytes, has_no_token: bool) -> None:
    assert is_preamble(part) is has_no_token


@given(st.binary(max_size=300))
def test_any_bytes_are_harmless(data: bytes) -> None:
    for response in (data, b'{"usage":{' + data, b'data:{"model":"' + data + b'"usage":' + data):
        read_body(response)
        read_first_event(response)
        read_last_event((response, data))
