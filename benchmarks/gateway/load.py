"""A light client: sends one body repeatedly on open connections, and times each response.

Runs in a separate process, ``python load.py JOB_AS_JSON OUTPUT_FILE``, so that it can be pinned.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httptools
import msgspec
import uvloop

TIMEOUT_S = 60.0


class Target(msgspec.Struct, frozen=True):
    """Where to send a body."""

    port: int
    path: str
    body: str

    @property
    def request(self) -> bytes:
        return (
            f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(self.body)}\r\n\r\n"
            f"{self.body}"
        ).encode()


class Job(msgspec.Struct, frozen=True):
    targets: tuple[Target, ...]
    """Each client sends to them in turn, so that all are measured under one load."""
    concurrency: int
    num_rounds: int
    """Requests of each client to each target."""


class Timing(msgspec.Struct, frozen=True):
    """Of one response, in seconds since its request was sent."""

    first_byte_s: float
    last_byte_s: float


class Outcome(msgspec.Struct, frozen=True):
    seconds: float
    timings: tuple[tuple[Timing, ...], ...]
    """By target; those of one round have the same index."""


def main(arguments: Sequence[str]) -> int:
    job = msgspec.json.decode(arguments[0], type=Job)
    outcome = uvloop.run(_run(job))
    Path(arguments[1]).write_bytes(msgspec.json.encode(outcome))
    return 0


class _Connection(asyncio.Protocol):
    """Sends a request, and records when its response began and ended."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._first_byte_at = 0.0
        self._sent_at = 0.0
        self._done: asyncio.Future[Timing] | None = None

    async def ask(self, request: bytes) -> Timing:
        self._done = self._loop.create_future()
        self._first_byte_at = 0.0
        self._sent_at = time.perf_counter()
        self._transport.write(request)
        async with asyncio.timeout(TIMEOUT_S):
            return await self._done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError("the connection ended before the answer"))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != 200 and self._done is not None and not self._done.done():
            self._done.set_exception(RuntimeError(f"an answer with status {status}"))

    def on_body(self, body: bytes) -> None:
        if not self._first_byte_at:
            self._first_byte_at = time.perf_counter()

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        if self._done is not None and not self._done.done():
            first_s = (self._first_byte_at or now) - self._sent_at
            self._done.set_result(Timing(first_s, now - self._sent_at))


async def _run(job: Job) -> Outcome:
    timings: tuple[list[Timing], ...] = tuple([] for _ in job.targets)
    loop = asyncio.get_running_loop()

    async def owner(number: int) -> None:
        connections = []
        for target in job.targets:
            made = await loop.create_connection(_Connection, "127.0.0.1", target.port)
            connections.append((made[1], target.request))
        for round_number in range(job.num_rounds):
            answers = [Timing(0, 0)] * len(job.targets)
            # The first target changes from client to client and from round to round.
            for offset in range(len(job.targets)):
                index = (number + round_number + offset) % len(job.targets)
                connection, request = connections[index]
                answers[index] = await connection.ask(request)
            for index, answer in enumerate(answers):
                timings[index].append(answer)

    began_at = time.perf_counter()
    async with asyncio.TaskGroup() as owners:
        for number in range(job.concurrency):
            owners.create_task(owner(number))
    seconds = time.perf_counter() - began_at
    return Outcome(seconds, tuple(tuple(of_target) for of_target in timings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
