"""Length-prefixed frames of bytes over a stream socket. Sending never waits for the reader."""

import select
import socket
from collections import deque

_HEADER_BYTES = 4
_READ_BYTES = 1 << 18
_SOCKET_BUFFER_BYTES = 4 << 20


def encode_frame(payload: bytes) -> bytes:
    """The payload, preceded by its length."""
    return len(payload).to_bytes(_HEADER_BYTES, "little") + payload


def widen_buffers(sock: socket.socket) -> None:
    """Request large kernel buffers; the system may grant less."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER_BYTES)


class FrameDecoder:
    """Splits a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add received bytes; returns the frames that are complete now."""
        buffer = self._buffer
        buffer += data
        frames = []
        start = 0
        while len(buffer) - start >= _HEADER_BYTES:
            payload = start + _HEADER_BYTES
            end = payload + int.from_bytes(buffer[start:payload], "little")
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[payload:end]))
            start = end
        del buffer[:start]
        return frames


class FrameChannel:
    """One end of a socket pair, without blocking.

    ``receive`` waits only with ``wait``. ``send`` queues what the kernel does not accept, and every
    later call continues to send it.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._decoder = FrameDecoder()
        self._unsent: deque[memoryview] = deque()

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def send(self, payload: bytes) -> None:
        """Send one frame, or queue it."""
        self._unsent.append(memoryview(encode_frame(payload)))
        self._flush()

    def receive(self, *, wait: bool) -> list[bytes]:
        """All received frames; with ``wait``, at least one.

        Raises EOFError when the other end is closed.
        """
        self._flush()
        frames = self._read_all()
        while wait and not frames:
            writable = [self._sock] if self._unsent else []
            select.select([self._sock], writable, [])
            self._flush()
            frames = self._read_all()
        return frames

    def flush(self, timeout_s: float) -> None:
        """Wait until everything is sent; give up after ``timeout_s`` without progress."""
        while self._unsent:
            _, ready, _ = select.select([], [self._sock], [], timeout_s)
            if not ready:
                return
            self._flush()

    def _read_all(self) -> list[bytes]:
        frames: list[bytes] = []
        while True:
            try:
                data = self._sock.recv(_READ_BYTES)
            except BlockingIOError:
                return frames
            except ConnectionError as error:
                raise EOFError("the connection was lost") from error
            if not data:
                raise EOFError("the other end closed the connection")
            frames += self._decoder.feed(data)
            if len(data) < _READ_BYTES:
                return frames

    def _flush(self) -> None:
        try:
            while self._unsent:
                view = self._unsent[0]
                num_sent = self._sock.send(view)
                if num_sent < len(view):
                    self._unsent[0] = view[num_sent:]
                    return
                self._unsent.popleft()
        except BlockingIOError:
            return
        except ConnectionError as error:
            raise EOFError("the connection was lost") from error
