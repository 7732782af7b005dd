"""Continuous requests, each verified to the last token, to detect dropped ones.

For `mock_server`, whose every token is a chunk of its own. Not a benchmark: it measures nothing.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType

import httpx2

ERROR_EVENT = "error event"
CUT = "cut"


@dataclass(slots=True)
class Outcomes:
    """The outcomes of the requests so far."""

    num_ok: int = 0
    failures: list[str] = field(default_factory=list)
    """One line each; those with a regular error event, as after a replica's death, begin with
    `ERROR_EVENT`."""
    failed_at_s: list[float] = field(default_factory=list)
    """The time of each failure, in seconds after the load's beginning."""
    by_replica: Counter[str] = field(default_factory=Counter)
    streams_under_way: Counter[str] = field(default_factory=Counter)
    """By replica: streams that have begun and not ended."""

    def summary(self) -> str:
        """For the message of a failed test: failures, their number, and the first time."""
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
        async with httpx2.AsyncClient(
            trust_env=False, timeout=120.0, limits=httpx2.Limits(max_connections=None)
        ) as client:
            # In pairs: two replicas in turn would otherwise get all streams and all the rest.
            await asyncio.gather(
                *(self._work(client, is_streamed=n % 4 < 2) for n in range(self._num_workers))
            )

    async def _work(self, client: httpx2.AsyncClient, *, is_streamed: bool) -> None:
        while not self._is_over.is_set():
            try:
                failure = await self._send(client, is_streamed=is_streamed)
            except (httpx2.HTTPError, ValueError, KeyError) as error:
                failure = f"{CUT}: {type(error).__name__}: {error}"
            if failure is None:
                self.outcomes.num_ok += 1
            else:
                self.outcomes.failures.append(failure)
                self.outcomes.failed_at_s.append(time.monotonic() - self._began_s)
                await asyncio.sleep(0.05)  # no busy loop on immediate refusals

    async def _send(self, client: httpx2.AsyncClient, *, is_streamed: bool) -> str | None:
        """One request; None, or what was wrong with its response."""
        body = {
            "model": "mock",
            "messages": [{"role": "user", "content": "Say something."}],
            "max_tokens": self._num_tokens,
            "stream": is_streamed,
        }
        url = f"{self._url}/v1/chat/completions"
        async with client.stream("POST", url, json=body) as response:
            if response.status_code != 200:
                text = (await response.aread()).decode(errors="replace")
                return f"status {response.status_code}: {text[:300]}"
            replica = response.headers.get("x-replica", "?")
            self.outcomes.by_replica[replica] += 1
            if not is_streamed:
                usage = json.loads(await response.aread())["usage"]
                num_tokens = usage["completion_tokens"]
                return None if num_tokens == self._num_tokens else f"{num_tokens} tokens"
            self.outcomes.streams_under_way[replica] += 1
            try:
                return await self._check_stream(response)
            finally:
                self.outcomes.streams_under_way[replica] -= 1

    async def _check_stream(self, response: httpx2.Response) -> str | None:
        num_pieces = 0
        error: str | None = None
        try:
            async for line in response.aiter_lines():
                if not line.startswith("data: "):
                    continue
                if line == "data: [DONE]":
                    is_whole = num_pieces == self._num_tokens
                    return None if is_whole else f"{CUT}: clean end after {num_pieces} tokens"
                event = json.loads(line[6:])
                if "error" in event:
                    error = str(event["error"].get("message"))
                elif event["choices"] and event["choices"][0]["delta"].get("content"):
                    num_pieces += 1
        except httpx2.HTTPError as problem:
            if error is None:
                return f"{CUT}: {type(problem).__name__} after {num_pieces} tokens"
        return f"{ERROR_EVENT}: {error}" if error else f"{CUT}: ended after {num_pieces} tokens"
