"""Invalid responses, and valid ones that few servers send.

No answer, whatever its bytes are, ends more than its own request.
"""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.bench.figures.run_figures import figures_of
from headrace.bench.http import response_reader, sse
from headrace.bench.http.client import Client
from headrace.bench.http.request_body import RequestEncoder
from headrace.bench.http.response_reader import ResponseReader
from headrace.bench.http.sse import EventSplitter
from headrace.bench.load import event_loop
from headrace.bench.records import BenchTarget, Failure, PlannedRequest, RequestRecord
from headrace.http1.connection import InvalidResponseError
from headrace.testing.servers.scripted_server import Reply, ScriptedServer, Then, stream, whole

KEY = "sk-0123456789"


def send_all(*replies, is_streamed=True):
    """Records of one request for each reply, sent sequentially."""

    async def main():
        async with ScriptedServer(replies) as server:
            target = BenchTarget("t", server.base_url, "m", KEY)
            encoder = RequestEncoder(target, "chat", is_streamed=is_streamed, extra_body={})
            request = encoder.encode(PlannedRequest(max_tokens=7), ())
            client = Client(target, is_streamed=is_streamed, timeout_s=60.0)
            records = [RequestRecord(index, 0.0) for index in range(len(replies))]
            for record in records:
                await client.send(request, record, began_s=0.0, keep_text=True)
            await client.close()
        return records

    return event_loop.run(main())


def send(reply, **options):
    return send_all(reply, **options)[0]


def delta(finish_reason=None, usage=None, **fields):
    choice = {"index": 0, "delta": fields, "logprobs": None, "finish_reason": finish_reason}
    return json.dumps({"choices": [choice], "usage": usage, "prompt_token_ids": None})


ROLE = delta(role="assistant", content="")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
END = [json.dumps({"choices": [], "usage": USAGE}), "[DONE]"]

# What is a token, and what is not.


@pytest.mark.parametrize(
    "first",
    [
        ROLE,
        delta(role="assistant"),
        delta(role="assistant", content=None),
        delta(role="assistant", content="", usage={"prompt_tokens": 3, "completion_tokens": 0}),
        delta(role="assistant", content="", usage={"prompt_tokens": 3, "completion_tokens": 1}),
        delta(role="assistant", content="", finish_reason=""),
        delta(role="assistant", content="", tool_calls=[]),
        json.dumps({"choices": [], "prompt_filter_results": []}),
        json.dumps({"choices": None}),
    ],
)
def test_a_chunk_without_text_is_not_the_first_token(first):
    events = [first, delta(content="a"), delta(content="b"), delta(finish_reason="stop"), *END]
    record = send(stream(events))
    assert record.is_successful
    assert len(record.chunk_times_s) == 2
    assert record.first_token_s == record.chunk_times_s[0]
    assert (record.num_prompt_tokens, record.num_output_tokens) == (3, 2)
    assert record.finish_reason == "stop"


def test_usage_in_every_chunk_is_not_summed():
    counts = [{"prompt_tokens": 3, "completion_tokens": number} for number in range(3)]
    events = [delta(content="", usage=counts[0])]
    events += [delta(content="a", usage=usage) for usage in counts[1:]]
    record = send(stream([*events, delta(finish_reason="stop"), "[DONE]"]))
    assert (record.num_prompt_tokens, record.num_output_tokens) == (3, 2)
    assert len(record.chunk_times_s) == 2


def test_null_keys_equal_missing_keys():
    text = {"index": 0, "text": "a", "logprobs": None, "finish_reason": None, "token_ids": None}
    event = {"choices": [{**text, "stop_reason": None, "prompt_logprobs": None}], "usage": None}
    end = {"choices": [{**text, "text": "", "finish_reason": "length"}], "usage": None}
    record = send(stream([json.dumps(event), json.dumps(end), *END]))
    assert record.is_successful
    assert (record.text, record.finish_reason, record.num_output_tokens) == ("a", "length", 2)


def call(**function):
    return delta(tool_calls=[{"index": 0, "function": function}])


def test_tool_calls_and_refusals_count_as_generated_text():
    events = [ROLE, call(name="add", arguments=""), call(arguments='{"a":'), call(arguments="1}")]
    events += [delta(tool_calls=[{"function": None}]), call(arguments={"a": 1}), call()]
    record = send(stream([*events, delta(refusal="no"), delta(finish_reason="tool_calls"), *END]))
    assert record.is_successful
    assert record.text == 'add{"a":1}no'
    assert len(record.chunk_times_s) == 4


# Usage.


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2.0}, 2),
        ({"prompt_tokens": None, "completion_tokens": None}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("is_streamed", [True, False])
def test_valid_usage_is_used(usage, counted, is_streamed):
    record = send(respond_with(usage, is_streamed), is_streamed=is_streamed)
    assert record.is_successful
    assert (record.num_output_tokens, record.usage_error) == (counted, None)


@pytest.mark.parametrize(
    "usage",
    [
        *({"completion_tokens": each} for each in (-1, 2.5, "2", True, [2], {"n": 2}, 10**30)),
        {"completion_tokens": 0},
        *(3, "2", [2], True),
    ],
)
@pytest.mark.parametrize("is_streamed", [True, False])
def test_invalid_usage_falls_back_to_the_tokenizer(usage, is_streamed):
    record = send(respond_with(usage, is_streamed), is_streamed=is_streamed)
    assert record.is_successful
    assert record.num_output_tokens is None
    assert record.usage_error
    record.num_counted_tokens = 4
    figures = figures_of([record], 1.0)
    assert figures.num_output_tokens == 4
    assert figures.tokens.num_refused_usages == 1
    assert figures.tokens.refused_usage == record.usage_error
    assert figures.tokens.by_usage is None


def test_negative_prompt_tokens_do_not_discard_completion_tokens():
    usage = {"prompt_tokens": -7, "completion_tokens": 2}
    record = send(respond_with(usage, is_streamed=True))
    assert (record.num_prompt_tokens, record.num_output_tokens) == (None, 2)
    assert record.usage_error == "prompt_tokens is -7"


def test_an_empty_text_may_have_zero_tokens():
    event = {"choices": [{"text": "", "finish_reason": "stop"}], "usage": {"completion_tokens": 0}}
    record = send(stream([json.dumps(event), "[DONE]"]))
    assert (record.num_output_tokens, record.usage_error) == (0, None)


def respond_with(usage, is_streamed):
    if is_streamed:
        text = delta(content="abc", finish_reason="stop")
        return stream([text, json.dumps({"choices": [], "usage": usage}), "[DONE]"])
    message = {"role": "assistant", "content": "abc"}
    return whole({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})


# Bytes that are not a response.

DEEP = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BAD_BODIES = {
    "no JSON": b"{",
    "not UTF-8": b'{"choices":[{"message":{"content":"\xff"}}]}',
    "half a character": b'{"choices":[{"message":{"content":"\\ud83d"}}]}',
    "a number with 5,000 digits": b'{"usage":' + b"9" * 5_000 + b"}",
    "nested too deep": DEEP,
    "an array": b"[]",
    "choices of text": b'{"choices":"abc"}',
    "content of parts": b'{"choices":[{"message":{"content":[]},"delta":{"content":[]}}]}',
    "a finish reason of numbers": b'{"choices":[{"finish_reason":1}]}',
}


@pytest.mark.parametrize("name", BAD_BODIES)
@pytest.mark.parametrize("is_streamed", [True, False])
def test_invalid_responses_fail_only_their_request(name, is_streamed):
    body = BAD_BODIES[name]
    good = respond_with(USAGE, is_streamed)
    bad = whole(b"data: " + body + b"\n\ndata: [DONE]\n\n" if is_streamed else body)
    before, odd, after = send_all(good, bad, good, is_streamed=is_streamed)
    assert odd.failure is Failure.MALFORMED
    assert odd.error
    assert before.is_successful
    assert after.is_successful


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"error":' + DEEP + b"}",
        b'{"error":{"code":' + b"9" * 400 + b"}}",
        b'{"error":{"message":null}}',
        b"\xff\xfe\x00",
        b"",
    ],
)
def test_errors_of_any_shape_are_reported(body):
    record = send(whole(body, "500 No"))
    assert record.failure is Failure.HTTP_STATUS
    assert record.error.startswith("HTTP 500")
    assert len(record.error) < 400


def test_an_error_is_plain_text_on_one_line_without_the_key():
    message = f"Wrong key: {KEY}\r\n\x1b[31mred\x00"
    record = send(whole({"error": {"message": message}}, "401 No"))
    assert record.error == "HTTP 401: Wrong key: ***  [31mred "


def test_a_protocol_switch_is_reported():
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    assert send(Reply((head,), Then.CLOSE)).failure in (Failure.MALFORMED, Failure.CUT)


def test_an_unterminated_event_is_limited_in_length(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_LEN", 1_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    for piece in (b"data: " + b"x" * 2_000, b"data: x\n" * 300):
        record = send(Reply((head, piece), Then.HANG))
        assert record.failure is Failure.MALFORMED
        assert "exceeds 1,000 bytes" in record.error


def test_many_events_in_one_read_are_not_one_long_event(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_LEN", 10)
    assert len(EventSplitter().feed(b"data: abc\n\n" * 100)) == 100


def test_a_long_line_is_not_copied_with_each_chunk():
    splitter = EventSplitter()
    pieces = [b"x" * 1_000 for _ in range(1_000)]
    for piece in (b"data: ", *pieces):
        assert splitter.feed(piece) == []
    assert all(kept is piece for kept, piece in zip(splitter._rest[1:], pieces, strict=True))
    assert splitter.feed(b"\n\n") == [b"".join(pieces)]


def test_an_endless_body_is_limited_in_length(monkeypatch):
    monkeypatch.setattr(response_reader, "MAX_BODY_LEN", 1_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    record = send(Reply((head, b" " * 2_000), Then.HANG), is_streamed=False)
    assert record.failure is Failure.MALFORMED
    assert "exceeds 1,000 bytes" in record.error


NAMES = (
    *("choices", "usage", "error", "text", "delta", "message", "content", "finish_reason"),
    *("prompt_tokens", "completion_tokens", "tool_calls", "function", "arguments"),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
EVENTS = st.lists(
    st.binary(max_size=30)
    | JSON.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n")
    | st.sampled_from([b"data: [DONE]\n\n", b"event: error\n", b"\r\n", b"data:"]),
    max_size=6,
)


@settings(max_examples=300)
@given(st.integers(200, 599), st.booleans(), st.sampled_from([None, *Failure]), EVENTS)
@example(200, True, None, [b"data: " + DEEP + b"\n\n"])
def test_any_response_fills_a_record_with_figures(status, is_streamed, failure, pieces):
    record = RequestRecord(0, 0.0)
    reader = ResponseReader(record, began_s=0.0, is_streamed=is_streamed, keep_text=True)
    reader.on_status(status, "", 1.0)
    try:
        for number, piece in enumerate(pieces):
            reader.on_body(piece, 2.0 + number)
    except InvalidResponseError as error:
        reader.fail(Failure.MALFORMED, str(error), 99.0)
    else:
        if failure is None:
            reader.finish(99.0)
        else:
            reader.fail(failure, "It ended.", 99.0)
    assert record.is_successful or record.error
    figures = figures_of([record], 99.0)
    assert figures.num_output_tokens >= 0
    assert figures.num_prompt_tokens >= 0
