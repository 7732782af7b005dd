"""Frames arrive complete and in order, in any fragmentation."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.process.framing import FrameChannel, FrameDecoder, encode_frame


@given(
    payloads=st.lists(st.binary(max_size=300), max_size=20),
    cuts=st.lists(st.integers(min_value=1, max_value=400), min_size=1, max_size=50),
)
def test_frames_are_decoded_in_any_fragmentation(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(payload) for payload in payloads)
    decoder = FrameDecoder()
    received: list[bytes] = []
    start = 0
    for i in range(len(stream)):
        if start >= len(stream):
            break
        end = start + cuts[i % len(cuts)]
        received += decoder.feed(stream[start:end])
        start = end
    assert received == payloads


def test_sending_does_not_block_and_loses_no_frame() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender, receiver = FrameChannel(ours), FrameChannel(theirs)
        payloads = [bytes([i]) * 100_000 for i in range(100)]  # far more than the kernel buffers
        for payload in payloads:
            sender.send(payload)
        assert sender.has_unsent

        received: list[bytes] = []
        while len(received) < len(payloads):
            received += receiver.receive(wait=False)
            sender.receive(wait=False)  # any call continues to send
        assert received == payloads
        assert not sender.has_unsent


def test_receive_without_wait_returns_at_once() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert FrameChannel(ours).receive(wait=False) == []


def test_frames_sent_before_close_are_received() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        channel = FrameChannel(ours)
        with theirs:
            FrameChannel(theirs).send(b"last words")
        assert channel.receive(wait=True) == [b"last words"]
        with pytest.raises(EOFError):
            channel.receive(wait=True)


def test_sending_to_a_closed_peer_raises_eof() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        with pytest.raises(EOFError):
            FrameChannel(ours).send(b"nobody there")
