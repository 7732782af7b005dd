"""Continuous requests, each verified to the last token: to show that nothing is dropped.

For `mock_server`, whose every token is a chunk of its own. Not a benchmark: it measures nothing.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType

import aiohttp

ERROR_EVENT = "error event"
CUT = "cut"


@dataclass(slots=True)
class Outcomes:
    """What became of the requests so far."""

    num_ok: int = 0
    failures: list[str] = field(default_factory=list)
    """One line each; those that ended as they should when a replica dies begin with
    `ERROR_EVENT`."""
    failed_at_s: list[float] = field(default_factory=list)
    """When each failure came, in seconds after the load's beginning."""
    by_replica: Counter[str] = field(default_factory=Counter)
    streams_under_way: Counter[str] = field(default_factory=Counter)
    """By replica: streams whose first pieces have come, and whose end has not."""

    def summary(self) -> str:
        """For the message of a test that fails: what failed, how often, and when first."""
        kinds = Counter(self.failures).most_common(5)
        first = dict(zip(reversed(self.failures), reversed(self.failed_at_s), strict=True))
        lines = [f"{num} x from {first[kind]:.1f} s on: {kind}" for kind, num in kinds]
        return "\n".join([f"{self.num_ok} ok, {len(self.failures)} failed", *lines])


class SteadyLoad:
    """``num_workers`` clients, each with one request at a time, half of them streaming.

    Runs in a thread of its own while the block lasts. At the end all requests are finished.
    """

    def __init__(self, url: str, *, num_workers: int = 16, num_tokens: int = 20) -> None:
        self._url = url.rstrip("/")
        self._num_workers = num_workers
        self._num_tokens = num_tokens
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.outcomes = Outcomes()
        self._began_s = time.monotonic()

    def __enter__(self) -> "SteadyLoad":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            # In pairs: two replicas that take turns would else get all streams and all the rest.
            await asyncio.gather(
                *(self._work(session, is_streamed=n % 4 < 2) for n in range(self._num_workers))
            )

    async def _work(self, session: aiohttp.ClientSession, *, is_streamed: bool) -> None:
        while not self._is_over.is_set():
            try:
                failure = await self._ask(session, is_streamed=is_streamed)
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
                failure = f"{CUT}: {type(error).__name__}: {error}"
            if failure is None:
                self.outcomes.num_ok += 1
            else:
                self.outcomes.failures.append(failure)
                self.outcomes.failed_at_s.append(time.monotonic() - self._began_s)
                await asyncio.sleep(0.05)  # what is refused at once must not spin

    async def _ask(self, session: aiohttp.ClientSession, *, is_streamed: bool) -> str | None:
        """One request; None, or what was wrong with its answer."""
        body = {
            "model": "mock",
            "messages": [{"role": "user", "content": "Say something."}],
            "max_tokens": self._num_tokens,
            "stream": is_streamed,
        }
        async with session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
            if answer.status != 200:
                return f"status {answer.status}: {(await answer.text())[:300]}"
            replica = answer.headers.get("x-replica", "?")
            self.outcomes.by_replica[replica] += 1
            if not is_streamed:
                usage = (await answer.json())["usage"]
                num_tokens = usage["completion_tokens"]
                return None if num_tokens == self._num_tokens else f"{num_tokens} tokens"
            self.outcomes.streams_under_way[replica] += 1
            try:
                return await self._check_stream(answer)
            finally:
                self.outcomes.streams_under_way[replica] -= 1

    async def _check_stream(self, answer: aiohttp.ClientResponse) -> str | None:
        num_pieces = 0
        error: str | None = None
        try:
            async for line in answer.content:
                if not line.startswith(b"data: "):
                    continue
                if line == b"data: [DONE]\n":
                    is_whole = num_pieces == self._num_tokens
                    return None if is_whole else f"{CUT}: clean end after {num_pieces} tokens"
                event = json.loads(line[6:])
                if "error" in event:
                    error = str(event["error"].get("message"))
                elif event["choices"] and event["choices"][0]["delta"].get("content"):
                    num_pieces += 1
        except aiohttp.ClientError as problem:
            if error is None:
                return f"{CUT}: {type(problem).__name__} after {num_pieces} tokens"
        return f"{ERROR_EVENT}: {error}" if error else f"{CUT}: ended after {num_pieces} tokens"
