"""A recognized head means what the parser would have read from it."""

import httptools
from hypothesis import given
from hypothesis import strategies as st

from headrace.gateway.http.repeated_head import RepeatedHead

HEAD = b"POST /svc/v1/x HTTP/1.1\r\nHost: h\r\nContent-Length: %b\r\nX-Last: 1\r\n\r\n"


class Parsed:
    """The parser's result for some bytes."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.num_messages = 0
        self.is_blocked = False
        try:
            httptools.HttpRequestParser(self).feed_data(data)
        except httptools.HttpParserError:
            self.is_blocked = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.num_messages += 1


def remembered(body: bytes = b"{}") -> RepeatedHead:
    head = RepeatedHead.of(HEAD % b"%d" % len(body) + body, len(body))
    assert head is not None
    return head


@given(st.binary(max_size=2000))
def test_a_new_body_after_the_same_head_is_read(body: bytes) -> None:
    assert remembered().body_in(HEAD % b"%d" % len(body) + body) == body


@given(st.binary(max_size=12), st.binary(max_size=30))
def test_content_length_is_read_as_the_parser_reads_it(length: bytes, body: bytes) -> None:
    message = HEAD % length + body
    found = remembered().body_in(message)
    if found is None:
        return  # the parser will see
    parsed = Parsed(message)
    assert not parsed.is_blocked
    assert (parsed.num_messages, parsed.body) == (1, found)
    assert [name for name, _ in parsed.headers] == [b"Host", b"Content-Length", b"X-Last"]


@given(st.integers(0, len(HEAD) - 1), st.integers(0, 255))
def test_a_head_that_differs_anywhere_else_is_not_recognized(index: int, byte: int) -> None:
    message = HEAD % b"2" + b"{}"
    start = message.index(b"2\r\n")
    index %= len(message) - 2
    changed = message[:index] + bytes([byte]) + message[index + 1 :]
    if changed != message and index != start:
        assert remembered().body_in(changed) is None


@given(st.integers(0, 100))
def test_an_incomplete_message_is_not_recognized(num_missing: int) -> None:
    message = HEAD % b"50" + b"x" * 50
    assert (remembered().body_in(message[: len(message) - num_missing]) is None) == (
        num_missing > 0
    )
    assert remembered().body_in(message + message) is None


def test_only_messages_with_a_content_length_are_cached() -> None:
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    assert RepeatedHead.of(chunked, 2) is None
    assert RepeatedHead.of(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0) is None
    whole = HEAD % b"2" + b"{}"
    assert RepeatedHead.of(whole + whole, 2) is None
    padded = whole.replace(b"Length: 2", b"Length: 2 ")
    assert RepeatedHead.of(padded, 2) is None
