"""Only complete events are forwarded, in any fragmentation."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.http.sse_guard import MAX_NUM_BUFFERED, SseGuard

LINES = st.text("ab: ", min_size=1, max_size=5).map(str.encode)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Complete events, each with one kind of line ending, and the beginning of one more."""
    events = []
    for _ in range(draw(st.integers(0, 5))):
        end = draw(LINE_ENDS)
        lines = draw(st.lists(LINES, min_size=1, max_size=3))
        events.append(b"".join(line + end for line in lines) + end)
    return events, draw(LINES | st.just(b""))


@given(streams(), st.data())
def test_only_complete_events_are_forwarded(
    stream: tuple[list[bytes], bytes], data: st.DataObject
) -> None:
    events, tail = stream
    whole = b"".join(events)
    sent = whole + tail
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=8).map(sorted))
    ends = [sum(map(len, events[:count])) for count in range(len(events) + 1)]
    guard = SseGuard()
    passed = b""
    for start, end in pairwise([0, *cuts, len(sent)]):
        passed += guard.feed(sent[start:end])
        # A lone CR may be the first half of a CR LF, so some ends are detected a byte later.
        assert len(passed) in ends
        assert sent.startswith(passed)
    assert passed == whole
    assert guard.rest() == tail


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_bytes_are_preserved(pieces: list[bytes]) -> None:
    guard = SseGuard()
    assert b"".join(map(guard.feed, pieces)) + guard.rest() == b"".join(pieces)


def test_an_event_above_the_limit_disables_the_guard() -> None:
    guard = SseGuard()
    assert guard.feed(b"data: " + b"x" * MAX_NUM_BUFFERED) == b"data: " + b"x" * MAX_NUM_BUFFERED
    assert guard.is_off
    assert guard.feed(b"more") == b"more"


def test_an_event_at_the_limit_is_forwarded_once() -> None:
    guard = SseGuard()
    longest = b"x" * MAX_NUM_BUFFERED
    assert guard.feed(longest) == b""
    assert not guard.is_off
    assert guard.feed(b"y") == longest + b"y"
    assert guard.is_off
    assert guard.rest() == b""


def test_the_incomplete_rest_is_returned_once() -> None:
    guard = SseGuard()
    assert guard.feed(b"\n\ndata: {}") == b"\n\n"
    assert guard.rest() == b"data: {}"
    assert guard.rest() == b""


def test_an_empty_stream_is_not_done() -> None:
    assert not SseGuard().is_done


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_done_is_recognized_with_every_line_ending(end: bytes) -> None:
    guard = SseGuard()
    passed = guard.feed(b"data: {}" + end + b"data: [DONE]" + end)
    assert passed + guard.rest() == b"data: {}" + end + b"data: [DONE]" + end
    assert guard.is_done
    assert guard.feed(b"") == b""
    assert guard.is_done
    guard.feed(b"data: {}" + end)
    assert not guard.is_done


def test_done_must_be_the_last_complete_event() -> None:
    guard = SseGuard()
    guard.feed(b"data: {}\n\n")
    assert not guard.is_done
    guard.feed(b"data: [DONE]\n")
    assert not guard.is_done
    guard.feed(b"\n")
    assert guard.is_done


@pytest.mark.parametrize(
    ("event", "is_done"),
    [
        (b'event: message_stop\ndata: {"type":"message_stop"}\n\n', True),
        (b"event: message_delta\ndata: {}\n\nevent: message_stop\ndata: {}\n\n", True),
        (b"event: response.completed\ndata: {}\n\n", True),
        (b"event: response.incomplete\ndata: {}\n\n", True),
        (b"event: message_delta\ndata: {}\n\n", False),
        (b'data: {"text":"event: message_stop"}\n\n', False),
    ],
)
def test_the_last_events_of_other_apis_end_a_stream(event: bytes, is_done: bool) -> None:
    guard = SseGuard()
    guard.feed(event)
    assert guard.is_done is is_done
    assert guard.names_events is event.startswith(b"event:")


@pytest.mark.parametrize("line", [b"data: [DONE]", b"data:[DONE]"])
def test_the_space_before_done_is_optional(line: bytes) -> None:
    guard = SseGuard()
    guard.feed(line + b"\r\n\r\n")
    assert guard.is_done


@pytest.mark.parametrize(
    ("pieces", "is_error"),
    [
        ([b'data: {"error":{"message":"m"}}\n\n'], True),
        ([b'data: {"a":1}\n\n', b'data: {"error": {}}\n\n', b"data: [DONE]\n\n"], True),
        ([b'data: {"a":1}\n\ndata: { "error": {}}\n\ndata: [DONE]\n\n'], True),
        ([b'data: {"error": {}}\n\nda', b"ta: [DONE]\n\n"], True),
        ([b'data:{"error":"m"}\n\n'], True),
        ([b'data: {"error": {}}\n\n', b"data: 1\n\n", b"data: 2\n\n"], False),
        ([b'data: {"text":"\\"error\\""}\n\n', b"data: [DONE]\n\n"], False),
        ([b"data: [DONE]\n\n"], False),
        ([b'event: error\ndata: {"type":"error","error":{}}\n\n'], True),
        ([b'event: response.failed\ndata: {"response":{"error":{}}}\n\n'], True),
        ([b'event: response.completed\ndata: {"response":{"error":null}}\n\n'], False),
        ([], False),
    ],
)
def test_a_final_error_event_is_recognized(pieces: list[bytes], is_error: bool) -> None:
    guard = SseGuard()
    for piece in pieces:
        guard.feed(piece)
    assert guard.ended_in_error is is_error
