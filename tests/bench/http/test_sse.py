import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.http.sse import EventSplitter


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1), max_size=8
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["data: ", "data:"]),
    st.randoms(use_true_random=False),
)
def test_events_do_not_depend_on_chunk_boundaries(texts, line_end, prefix, source):
    texts = [text.strip() or "x" for text in texts]
    stream = "".join(f"{prefix}{text}{line_end}{line_end}" for text in texts).encode()
    cuts = sorted(source.randrange(len(stream) + 1) for _ in range(source.randrange(6)))
    splitter = EventSplitter()
    events = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += splitter.feed(stream[begin:end])
    assert events == [text.encode() for text in texts]
    assert splitter.finish() == []


def test_comments_ids_and_retry_times_are_ignored():
    splitter = EventSplitter()
    assert splitter.feed(b": ping\n\nid: 3\nretry: 10\ndata: a\n\n") == [b"a"]


def test_data_lines_of_one_event_are_joined():
    assert EventSplitter().feed(b'data: {"a":\ndata: 1}\n\n') == [b'{"a":\n1}']
    assert EventSplitter().feed(b"data: a\n: ping\ndata: b\n\n") == [b"a\nb"]


@pytest.mark.parametrize(
    ("before", "events"),
    [
        (b"data: a\n", [b"a\nb"]),
        (b"id: 1\n", [b"b"]),
        (b": a comment that goes on, ", []),
        (b"event: error\n", []),
        (b"event: token\n", [b"b"]),
        (b"", [b"b"]),
    ],
)
def test_a_complete_event_may_continue_an_earlier_chunk(before, events):
    splitter = EventSplitter()
    assert splitter.feed(before) == []
    assert splitter.feed(b"data: b\n\n") == events
    assert splitter.feed(b"data: c\n\n") == [b"c"]


def test_line_ends_may_be_mixed():
    assert EventSplitter().feed(b"data: a\r\n\n") == [b"a"]
    assert EventSplitter().feed(b"data: a\n\r\n") == [b"a"]


def test_an_event_named_error_is_stored_separately():
    splitter = EventSplitter()
    assert splitter.feed(b"event: error\ndata: broken\n\ndata: after\n\n") == [b"after"]
    assert splitter.feed(b"event:error\ndata: again\n\n") == []
    assert splitter.error_data == b"broken"


def test_an_event_without_an_empty_line_is_returned_at_the_end():
    splitter = EventSplitter()
    assert splitter.feed(b"data: a\n\ndata: [DO") == [b"a"]
    assert splitter.feed(b"NE]\n") == []
    assert splitter.finish() == [b"[DONE]"]
    assert splitter.finish() == []


@pytest.mark.parametrize("end", [b"", b"\r", b"\n", b"\r\n"])
def test_an_unterminated_line_is_returned_at_the_end(end):
    splitter = EventSplitter()
    assert splitter.feed(b"data: [DONE]" + end) == []
    assert splitter.finish() == [b"[DONE]"]
    assert splitter.feed(b"data: a\n\n") == [b"a"]
