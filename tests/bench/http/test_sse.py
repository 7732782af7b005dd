from hypothesis import given
from hypothesis import strategies as st

from headrace.bench.http.sse import EventSplitter


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n"), min_size=1), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["data: ", "data:"]),
    st.randoms(use_true_random=False),
)
def test_events_are_the_same_wherever_the_bytes_are_cut(texts, line_end, prefix, source):
    texts = [text.strip() or "x" for text in texts]
    stream = "".join(f"{prefix}{text}{line_end}{line_end}" for text in texts).encode()
    cuts = sorted(source.randrange(len(stream) + 1) for _ in range(source.randrange(6)))
    splitter = EventSplitter()
    events = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += splitter.feed(stream[begin:end])
    assert events == [text.encode() for text in texts]
    assert splitter.finish() == []


def test_comments_ids_and_retry_times_are_passed_over():
    splitter = EventSplitter()
    assert splitter.feed(b": ping\n\nid: 3\nretry: 10\ndata: a\n\n") == [b"a"]


def test_lines_of_one_event_are_joined():
    assert EventSplitter().feed(b'data: {"a":\ndata: 1}\n\n') == [b'{"a":\n1}']


def test_an_event_named_error_is_kept_apart():
    splitter = EventSplitter()
    assert splitter.feed(b"event: error\ndata: broken\n\ndata: after\n\n") == [b"after"]
    assert splitter.error_data == b"broken"


def test_an_event_without_its_empty_line_comes_at_the_end():
    splitter = EventSplitter()
    assert splitter.feed(b"data: a\n\ndata: [DO") == [b"a"]
    assert splitter.feed(b"NE]\n") == []
    assert splitter.finish() == [b"[DONE]"]
