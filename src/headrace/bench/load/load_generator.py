"""Sends a workload to a target according to its arrivals, and records each request.

1. Warm-up: a few unrecorded requests with the workload's prompts in reverse word order, so that
   they have the same length but share no prefix.
2. The run: one asyncio task per conversation, which sends its turns in sequence. A failed turn ends
   its conversation: later turns are not sent and have no record.
3. At the end, tasks are cancelled and connections closed.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from headrace.bench.errors import OptionError, ServerError
from headrace.bench.http.client import Client
from headrace.bench.http.request_body import RequestEncoder
from headrace.bench.load.arrivals import (
    Arrivals,
    ClosedLoop,
    TraceArrivals,
    arrival_times,
    max_concurrency_of,
)
from headrace.bench.load.client_health import HealthMonitor
from headrace.bench.records import (
    BenchTarget,
    ClientHealth,
    LoadResult,
    PlannedRequest,
    RequestRecord,
)

_PROGRESS_INTERVAL_S = 0.1
_MAX_WARM_UPS_AT_ONCE = 8
_NO_EXTRA: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run."""

    num_planned: int
    num_sent: int
    num_ended: int
    """Failed requests included."""
    num_failed: int
    num_output_tokens: int
    """Of completed requests, by the server's usage."""
    elapsed_s: float


async def run_load(
    target: BenchTarget, workload: Sequence[PlannedRequest], arrivals: Arrivals, **options: Any
) -> LoadResult:
    """Send all and wait for the last one; the options are those of ``LoadRun``."""
    return await LoadRun(target, workload, arrivals, **options).run()


class LoadRun:
    """One workload, sent once. ``result`` has the completed requests, even after an error."""

    def __init__(
        self,
        target: BenchTarget,
        workload: Sequence[PlannedRequest],
        arrivals: Arrivals,
        *,
        is_streamed: bool,
        endpoint: str,
        num_warm_ups: int = 0,
        timeout_s: float = 600.0,
        on_progress: Callable[[Progress], None] | None = None,
        keep_text: bool = False,
        extra_body: Mapping[str, object] = _NO_EXTRA,
    ) -> None:
        """endpoint: ``completions`` or ``chat``. Raises OptionError if the workload cannot be
        sent."""
        if not workload:
            raise OptionError("The workload is empty.")
        self._target = target
        self._workload = workload
        self._arrivals = arrivals
        self._is_streamed = is_streamed
        self._num_warm_ups = num_warm_ups
        self._timeout_s = timeout_s
        self._on_progress = on_progress
        self._keep_text = keep_text
        self._encoder = RequestEncoder(
            target, endpoint, is_streamed=is_streamed, extra_body=extra_body
        )
        self._conversations = conversations_of(workload)
        for index, planned in enumerate(workload):
            _check_can_be_sent(index, planned, self._encoder)
        self._times_s: list[float] = []
        if not isinstance(arrivals, ClosedLoop):
            firsts = [workload[turns[0]] for turns in self._conversations]
            self._times_s = arrival_times(arrivals, [first.arrival_s for first in firsts])
        self._ended: list[RequestRecord] = []
        self._monitor = HealthMonitor()
        self._health: ClientHealth | None = None
        self._began_s = 0.0
        self._num_sent = 0
        self._num_failed = 0
        self._num_output_tokens = 0

    @property
    def began_at(self) -> float:
        """Zero of the times in records, by ``time.perf_counter``."""
        return self._began_s

    async def run(self) -> LoadResult:
        """Send all and wait for the last one. Call it once.

        Raises ServerError where every warm-up request fails. Failures of the run itself are in the
        records. Run it on uvloop (``event_loop.run``) where its speed matters.
        """
        client = Client(self._target, is_streamed=self._is_streamed, timeout_s=self._timeout_s)
        try:
            await _warm_up(
                client,
                self._encoder,
                self._workload,
                self._num_warm_ups,
                max_concurrency_of(self._arrivals),
            )
            with _long_lived_objects_frozen():
                await self._send_all(client)
        finally:
            await client.close()
        result = self.result()
        assert result is not None, "a workload has at least one request"
        return result

    def result(self) -> LoadResult | None:
        """The completed requests, in the workload's order; None if there are none."""
        if not self._ended:
            return None
        if self._health is None:
            self._health = self._monitor.stop()
        records = sorted(self._ended, key=lambda record: record.index)
        return LoadResult(
            target=self._target,
            records=records,
            duration_s=max(record.ended_s for record in records)
            - min(record.sent_s for record in records),
            client=self._health,
            is_streamed=self._is_streamed,
        )

    async def _send_all(self, client: Client) -> None:
        self._monitor.start()
        self._began_s = time.perf_counter()
        try:
            async with self._reporting_progress(self._on_progress), asyncio.TaskGroup() as group:
                if isinstance(self._arrivals, ClosedLoop):
                    waiting = iter(self._conversations)
                    for _ in range(min(self._arrivals.concurrency, len(self._conversations))):
                        group.create_task(self._work(client, waiting))
                else:
                    await self._send_in_time(client, group)
        finally:
            self._health = self._monitor.stop()

    async def _work(self, client: Client, waiting: Iterator[list[int]]) -> None:
        for turns in waiting:
            await self._converse(client, turns)

    async def _send_in_time(self, client: Client, group: asyncio.TaskGroup) -> None:
        limit = max_concurrency_of(self._arrivals)
        slots = None if limit is None else asyncio.Semaphore(limit)
        plan = sorted(
            zip(self._times_s, self._conversations, strict=True), key=lambda pair: pair[0]
        )
        for time_s, turns in plan:
            await self._wait_until(time_s)
            group.create_task(self._converse_in_time(client, turns, time_s, slots))

    async def _converse_in_time(
        self, client: Client, turns: list[int], time_s: float, slots: asyncio.Semaphore | None
    ) -> None:
        # The client's own delay, without the time queued for a slot.
        self._monitor.note_send(max(0.0, self._elapsed_s() - time_s))
        if slots is None:
            await self._converse(client, turns, time_s)
            return
        async with slots:
            await self._converse(client, turns, time_s)

    async def _converse(
        self, client: Client, turns: list[int], time_s: float | None = None
    ) -> None:
        prompt = None
        answer = ""
        for index in turns:
            planned = self._workload[index]
            is_last = index == turns[-1]
            if prompt is not None and isinstance(self._arrivals, TraceArrivals):
                await self._wait_until(planned.arrival_s or 0.0)
            prompt = self._encoder.prompt_of(planned, prompt, answer)
            record = RequestRecord(index=index, sent_s=0.0, task=planned.task)
            if index == turns[0]:
                record.due_s = time_s
            self._num_sent += 1
            await client.send(
                self._encoder.encode(planned, prompt),
                record,
                began_s=self._began_s,
                keep_text=self._keep_text or not is_last,
            )
            answer = record.text
            if not self._keep_text:
                record.text = ""
            self._count(record)
            if not record.is_successful:
                return

    async def _wait_until(self, time_s: float) -> None:
        wait_s = time_s - self._elapsed_s()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._began_s

    def _count(self, record: RequestRecord) -> None:
        self._ended.append(record)
        self._num_failed += not record.is_successful
        self._num_output_tokens += record.num_output_tokens or 0

    def _progress(self) -> Progress:
        return Progress(
            num_planned=len(self._workload),
            num_sent=self._num_sent,
            num_ended=len(self._ended),
            num_failed=self._num_failed,
            num_output_tokens=self._num_output_tokens,
            elapsed_s=self._elapsed_s(),
        )

    @asynccontextmanager
    async def _reporting_progress(
        self, on_progress: Callable[[Progress], None] | None
    ) -> AsyncIterator[None]:
        """Report progress periodically, and once at the end if there was no error."""
        if on_progress is None:
            yield
            return
        reporting = asyncio.create_task(self._report_progress(on_progress))
        try:
            yield
        finally:
            reporting.cancel()
            with suppress(asyncio.CancelledError):
                await reporting
        on_progress(self._progress())

    async def _report_progress(self, on_progress: Callable[[Progress], None]) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_INTERVAL_S)
            on_progress(self._progress())


def conversations_of(workload: Sequence[PlannedRequest]) -> list[list[int]]:
    """The indices of each conversation's turns, in order; a single request is one turn.

    Raises OptionError if a turn follows a later one, or one that another turn follows already.
    """
    conversations: list[list[int]] = []
    ends: dict[int, list[int]] = {}
    """Conversations by their last turn so far."""
    for index, planned in enumerate(workload):
        if planned.follows is None:
            conversation: list[int] = []
            conversations.append(conversation)
        else:
            found = ends.pop(planned.follows, None)
            if found is None:
                raise OptionError(
                    f"Request {index} of the workload cannot follow request {planned.follows}: "
                    "each turn follows an earlier one, and no two follow the same one."
                )
            conversation = found
        conversation.append(index)
        ends[index] = conversation
    return conversations


def _check_can_be_sent(index: int, planned: PlannedRequest, encoder: RequestEncoder) -> None:
    """Raises OptionError if a request cannot be encoded, before any is sent."""
    prompt = encoder.prompt_of(planned)
    try:
        encoder.encode(planned, prompt)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise OptionError(
            f"Request {index} of the workload cannot be encoded as JSON: {error}."
        ) from None


async def _warm_up(
    client: Client,
    encoder: RequestEncoder,
    workload: Sequence[PlannedRequest],
    num_warm_ups: int,
    max_concurrency: int | None,
) -> None:
    firsts = [planned for planned in workload if planned.follows is None]
    waiting = iter([_reversed(firsts[number % len(firsts)]) for number in range(num_warm_ups)])
    records: list[RequestRecord] = []
    began_s = time.perf_counter()

    async def work() -> None:
        for planned in waiting:
            record = RequestRecord(index=len(records), sent_s=0.0)
            records.append(record)
            request = encoder.encode(planned, encoder.prompt_of(planned))
            await client.send(request, record, began_s=began_s)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(num_warm_ups, max_concurrency or _MAX_WARM_UPS_AT_ONCE)):
            group.create_task(work())
    if records and not any(record.is_successful for record in records):
        raise ServerError(f"All warm-up requests failed. First error: {records[0].error}")


def _reversed(planned: PlannedRequest) -> PlannedRequest:
    if isinstance(planned.prompt, tuple):
        return replace(planned, prompt=planned.prompt[::-1])
    if planned.prompt is not None:
        return replace(planned, prompt=_reversed_words(planned.prompt))
    messages = tuple(
        {**message, "content": _reversed_words(message["content"])}
        for message in planned.messages or ()
    )
    return replace(planned, messages=messages)


def _reversed_words(text: str) -> str:
    return " ".join(reversed(text.split(" ")))


@contextmanager
def _long_lived_objects_frozen() -> Iterator[None]:
    """Exclude existing objects, such as the workload, from garbage collections, which block the
    event loop. What the caller has frozen stays frozen."""
    gc.collect()
    if gc.get_freeze_count() > 0:
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
