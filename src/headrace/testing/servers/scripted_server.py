"""An HTTP server that responds with the given bytes, for tests of clients.

It parses HTTP only to find the end of a request. Responses may be invalid.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any


class Then(Enum):
    """What happens to the connection after a response's bytes."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"
    """It stays open, and nothing more is sent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The bytes of a response, head included, in the pieces in which they are written."""

    pieces: tuple[bytes, ...]
    then: Then = Then.KEEP


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    head: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ScriptedServer:
    """Sends the replies in order, then repeats the last one. An asynchronous context manager."""

    replies: Sequence[Reply]
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    requests: list[ReceivedRequest] = field(default_factory=list)
    num_connections: int = 0
    num_open: int = 0
    """Connections open now."""
    max_num_busy: int = 0
    """The maximum number of concurrent requests."""
    base_url: str = ""

    async def __aenter__(self) -> "ScriptedServer":
        self._num_busy = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, self.host, 0, ssl=self.tls)
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http{'s' if self.tls else ''}://localhost:{port}"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        self.num_open += 1
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                self._num_busy += 1
                self.max_num_busy = max(self.max_num_busy, self._num_busy)
                try:
                    reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
                    await _write(reply, reader, writer)
                finally:
                    self._num_busy -= 1
                if reply.then is not Then.KEEP:
                    return
        except OSError:
            pass  # the client has disconnected
        finally:
            self.num_open -= 1
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> ReceivedRequest | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    length = 0
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    return ReceivedRequest(head, await reader.readexactly(length))


async def _write(reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for piece in reply.pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    if reply.then is Then.RESET:
        writer.transport.abort()
    elif reply.then is Then.HANG:
        await reader.read()  # until the client disconnects


def whole(body: object, status: str = "200 OK", headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON response with its length."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json", **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(content)}\r\n\r\n"
    return Reply((head.encode() + content,))


def stream(events: Sequence[str], *, is_ended: bool = True, then: Then = Then.KEEP) -> Reply:
    """Server-sent events, each one HTTP chunk and one piece."""
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    bodies = [f"data: {event}\n\n".encode() for event in events]
    pieces = [b"%x\r\n%s\r\n" % (len(body), body) for body in bodies]
    return Reply((head, *pieces, *([b"0\r\n\r\n"] if is_ended else [])), then)
