"""Sends the requests of a batch, many at once, and writes their results in order."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from headrace.model_client.batch_files import BatchInput, BatchOutput
from headrace.model_client.batch_request import (
    BatchRequest,
    BatchResult,
    error_result,
    response_result,
)
from headrace.model_client.model_server import ServerAddress

_RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_DELAY_S = 0.5
_MAX_DELAY_S = 30.0
_CONNECT_TIMEOUT_S = 10.0
_WINDOW_FACTOR = 16
"""Requests between the first result that is not written and the last request sent, per request at
once. A long request delays those behind it only when this many have finished."""
_MAX_WAITING_BYTES = 256 * 1024 * 1024
"""Results that wait to be written. Beyond it, no request is sent."""


@dataclass
class BatchProgress:
    """How far a batch has come."""

    num_bytes: int = 0
    """Size of the input file."""
    num_bytes_read: int = 0
    num_reused: int = 0
    """Results of an earlier run."""
    num_succeeded: int = 0
    """Results of an earlier run included."""
    num_failed: int = 0
    num_prompt_tokens: int = 0
    """Of this run."""
    num_output_tokens: int = 0
    started_at: float = field(default_factory=time.monotonic)

    @property
    def num_done(self) -> int:
        return self.num_succeeded + self.num_failed

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started_at


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How the requests are sent."""

    max_concurrency: int = 64
    """Requests at once."""
    max_retries: int = 5
    """Of a request whose server is overloaded, failed or unreachable."""
    timeout_s: float | None = None
    """Of one request; None for no limit."""


async def run_batch(
    source: BatchInput,
    output: BatchOutput,
    address: ServerAddress,
    options: BatchOptions,
    on_progress: Callable[[BatchProgress], None],
) -> BatchProgress:
    """Run the batch to its end. Cancelled, it leaves the results so far in the output file.

    Raises InvalidInputError if the output file belongs to another batch, and OSError.
    """
    progress = BatchProgress(num_bytes=source.num_bytes)
    timeout = httpx2.Timeout(options.timeout_s, connect=_CONNECT_TIMEOUT_S)
    limits = httpx2.Limits(max_connections=options.max_concurrency)
    async with httpx2.AsyncClient(
        headers=address.headers, timeout=timeout, limits=limits, trust_env=False
    ) as http:
        sender = _Sender(address, options, http, progress)
        window = _Window(output, options.max_concurrency * _WINDOW_FACTOR, progress, on_progress)
        try:
            for request in source:
                progress.num_bytes_read = source.num_bytes_read
                result = output.reuse(request)
                if result is None:
                    await sender.wait_for_slot()
                    await window.add(asyncio.create_task(sender.send(request)))
                else:
                    progress.num_reused += 1
                    await window.add(result)
            await window.finish()
        finally:
            await window.cancel()
    return progress


class _Window:
    """The results that are not written, in order; some are still to come."""

    def __init__(
        self,
        output: BatchOutput,
        max_length: int,
        progress: BatchProgress,
        on_progress: Callable[[BatchProgress], None],
    ) -> None:
        self._output = output
        self._max_length = max_length
        self._progress = progress
        self._on_progress = on_progress
        self._results: deque[BatchResult | asyncio.Task[BatchResult]] = deque()
        self._num_waiting_bytes = 0

    async def add(self, result: BatchResult | asyncio.Task[BatchResult]) -> None:
        """Add the next one, and write those that are ready; waits while there are too many."""
        self._results.append(result)
        if isinstance(result, BatchResult):
            self._num_waiting_bytes += len(result.line)
        else:
            result.add_done_callback(self._count_waiting)
        while self._results and (self._first_is_ready() or self._is_full()):
            await self._write_first()

    async def finish(self) -> None:
        while self._results:
            await self._write_first()

    async def cancel(self) -> None:
        tasks = [each for each in self._results if isinstance(each, asyncio.Task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _first_is_ready(self) -> bool:
        first = self._results[0]
        return isinstance(first, BatchResult) or first.done()

    def _is_full(self) -> bool:
        is_long = len(self._results) >= self._max_length
        return is_long or self._num_waiting_bytes >= _MAX_WAITING_BYTES

    async def _write_first(self) -> None:
        first = self._results[0]
        result = first if isinstance(first, BatchResult) else await first
        self._results.popleft()
        self._num_waiting_bytes -= len(result.line)
        self._output.write(result)
        if result.is_successful:
            self._progress.num_succeeded += 1
        else:
            self._progress.num_failed += 1
        self._on_progress(self._progress)

    def _count_waiting(self, task: asyncio.Task[BatchResult]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._num_waiting_bytes += len(task.result().line)


class _Sender:
    """Sends a request until it has a result."""

    def __init__(
        self,
        address: ServerAddress,
        options: BatchOptions,
        http: httpx2.AsyncClient,
        progress: BatchProgress,
    ) -> None:
        self._address = address
        self._options = options
        self._http = http
        self._progress = progress
        self._slots = asyncio.Semaphore(options.max_concurrency)

    async def wait_for_slot(self) -> None:
        """Before each ``send``, which gives the slot back."""
        await self._slots.acquire()

    async def send(self, request: BatchRequest) -> BatchResult:
        try:
            if request.problem is not None:
                return error_result(request, "invalid_request", request.problem)
            return await self._send_with_retries(request)
        finally:
            self._slots.release()

    async def _send_with_retries(self, request: BatchRequest) -> BatchResult:
        delay_s = _FIRST_DELAY_S
        for attempt in range(self._options.max_retries + 1):
            is_last = attempt == self._options.max_retries
            try:
                response = await self._http.post(
                    self._address.url_of(request.path), json=request.body
                )
            except httpx2.TimeoutException:
                return error_result(
                    request, "timeout", f"No response within {self._options.timeout_s:g} s."
                )
            except httpx2.HTTPError as error:
                if is_last:
                    reason = str(error) or type(error).__name__
                    return error_result(request, "connection_failed", reason)
                wait_s = delay_s
            else:
                if is_last or response.status_code not in _RETRIED_STATUSES:
                    return self._result(request, response)
                wait_s = max(delay_s, _retry_after_s(response))
            await asyncio.sleep(wait_s)
            delay_s = min(delay_s * 2, _MAX_DELAY_S)
        raise AssertionError("the last attempt returns")

    def _result(self, request: BatchRequest, response: httpx2.Response) -> BatchResult:
        try:
            body: Any = response.json()
        except ValueError:
            body = response.text
        usage = body.get("usage") if isinstance(body, dict) else None
        if isinstance(usage, dict):
            self._progress.num_prompt_tokens += _count(usage.get("prompt_tokens"))
            self._progress.num_output_tokens += _count(usage.get("completion_tokens"))
        request_id = response.headers.get("x-request-id", "")
        return response_result(request, response.status_code, request_id, body)


def _retry_after_s(response: httpx2.Response) -> float:
    value = response.headers.get("retry-after", "")
    return min(float(value), _MAX_DELAY_S) if value.isdigit() else 0.0


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
