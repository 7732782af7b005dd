"""A replica that follows a script byte for byte, and a client that reads byte for byte.

For invalid and unusual HTTP. It parses HTTP only to find a message's end.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType

from headrace.core.gateway.routes import ReplicaRoute

TIMEOUT_S = 60.0


class Peer:
    """One connection, from either end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_head(self) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def read_message(self) -> bytes:
        """One message with its body, which a length or chunks must delimit, if it has one."""
        head = await self.read_head()
        headers = head.lower()
        async with asyncio.timeout(TIMEOUT_S):
            if b"transfer-encoding: chunked" in headers:
                return head + await self._read_chunks()
            if b"content-length: " in headers:
                length = int(headers.split(b"content-length: ")[1].split(b"\r\n")[0])
                return head + await self.reader.readexactly(length)
        return head

    async def read_exactly(self, num_bytes: int) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.readexactly(num_bytes)

    async def read_until(self, end: bytes) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.readuntil(end)

    async def read_to_end(self) -> bytes:
        """All data up to the connection's end, clean or not; closes this side too."""
        data = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(TIMEOUT_S):
                while piece := await self.reader.read(65536):
                    data += piece
        await self.close()
        return data

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    def abort(self) -> None:
        """Close it with a reset."""
        self.writer.transport.abort()

    async def _read_chunks(self) -> bytes:
        body = b""
        while True:
            size = await self.reader.readuntil(b"\r\n")
            chunk = await self.reader.readexactly(int(size, 16) + 2)
            body += chunk[:-2]
            if size.strip() == b"0":
                return body


Script = Callable[[Peer], Awaitable[None]]


class ScriptedReplica:
    """Runs the script for each connection; an asynchronous context manager."""

    def __init__(self, script: Script, name: str = "scripted") -> None:
        self._script = script
        self._name = name
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.num_connections = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def route(self) -> ReplicaRoute:
        return ReplicaRoute(self._name, "127.0.0.1", self.port)

    async def __aenter__(self) -> "ScriptedReplica":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.num_connections += 1
        peer = Peer(reader, writer)
        try:
            await self._script(peer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # the peer has disconnected, or the test is over
        finally:
            self._running.discard(task)
            await peer.close()


async def connect(port: int) -> Peer:
    return Peer(*await asyncio.open_connection("127.0.0.1", port))
