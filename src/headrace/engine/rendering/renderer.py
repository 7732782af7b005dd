"""Renders prompts for a server: beside its event loop, within limits of time and memory.

A template is code that comes with a model. A plain one (plain_template.py) has a known bound on its
work, and is rendered on the loop's thread if the bound is small. All others are rendered in
processes, which can be killed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from headrace.core.errors import (
    EngineDrainingError,
    InvalidRequestError,
    QueueFullError,
)
from headrace.engine.rendering.chat_template import ChatTemplate
from headrace.engine.rendering.messages import Reply
from headrace.engine.rendering.prompt_template import PromptTemplate, RenderJob
from headrace.engine.rendering.render_worker import (
    RENDER_TIMEOUT_S,
    RenderWorker,
    WorkerLostError,
    prompt_of,
)

SLOW_AFTER_S = 0.1
"""When a prompt takes longer, others get another process."""
MAX_WORKERS = 4
MAX_WAITING = 1024
"""Prompts that wait for a process; more are rejected."""
RETRY_AFTER_S = 5
NUM_TRIES = 3
"""Attempts for a prompt whose process died, as the template may not be the cause."""

logger = logging.getLogger("headrace.server")


class PromptRenderer:
    """Renders the prompts of one template, within an ``async with`` block."""

    def __init__(self, template: ChatTemplate, *, timeout_s: float = RENDER_TIMEOUT_S) -> None:
        self._chat_template = template
        self._timeout_s = timeout_s
        self._template: PromptTemplate | None = None
        self._workers: set[RenderWorker] = set()
        self._idle: list[RenderWorker] = []
        self._num_starting = 0
        self._num_slow = 0
        """Prompts whose rendering has taken longer than SLOW_AFTER_S."""
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._warm_up: asyncio.Task[None] | None = None
        self._is_closed = False

    async def render(self, job: RenderJob) -> str:
        """The prompt; raises InvalidRequestError, also when a limit was reached, or QueueFullError
        when too many prompts wait for a process."""
        template = self._get_template()
        if template.is_trivial(job):
            return template.render(job)
        return prompt_of(await self._render_in_process(job))

    async def __aenter__(self) -> "PromptRenderer":
        """Start the process for the first prompt in the background, if the template needs one."""
        if self._chat_template.source is not None and not self._get_template().is_plain:
            self._warm_up = asyncio.create_task(self._start_idle())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all processes."""
        self._is_closed = True
        if self._warm_up is not None:
            self._warm_up.cancel()
            await asyncio.wait([self._warm_up])
        workers = list(self._workers)
        self._workers.clear()
        self._idle.clear()
        while self._waiters:
            self._wake_one()
        for worker in workers:
            await worker.kill()

    def _get_template(self) -> PromptTemplate:
        if self._template is None:
            self._template = PromptTemplate(self._chat_template.definition)
        return self._template

    async def _start_idle(self) -> None:
        if self._workers or self._num_starting:
            return  # the first prompt arrived earlier
        try:
            await self._give_back(await self._take())
        except (OSError, WorkerLostError) as error:
            logger.warning("Cannot start a process that renders chat templates: %r", error)

    async def _render_in_process(self, job: RenderJob) -> Reply:
        for _ in range(NUM_TRIES):
            try:
                return await self._try_in_process(job)
            except WorkerLostError:
                continue
        raise InvalidRequestError(
            "The chat template ended the process that rendered these messages."
        )

    async def _try_in_process(self, job: RenderJob) -> Reply:
        worker = await self._take()
        try:
            async with asyncio.timeout(self._timeout_s):
                with self._watch_for_slowness():
                    reply = await worker.render(job)
        except TimeoutError:
            await self._discard(worker)
            raise InvalidRequestError(
                f"The chat template did not render these messages within {self._timeout_s:g} s."
            ) from None
        except BaseException:
            await self._discard(worker)
            raise
        await self._give_back(worker)
        return reply

    async def _take(self) -> RenderWorker:
        """An idle process, as soon as there is one."""
        while not self._idle and not self._may_start():
            if len(self._waiters) >= MAX_WAITING:
                raise QueueFullError(MAX_WAITING, RETRY_AFTER_S)
            await self._wait()
        self._check_open()
        if self._idle:
            return self._idle.pop()
        self._num_starting += 1
        try:
            # Slightly later than the limit here, so that this one is reported.
            definition = self._chat_template.definition
            worker = await RenderWorker.start(definition, self._timeout_s + 1.0)
        finally:
            self._num_starting -= 1
            self._wake_one()
        if self._is_closed:
            await worker.kill()
        self._check_open()
        self._workers.add(worker)
        return worker

    def _check_open(self) -> None:
        if self._is_closed:
            raise EngineDrainingError("The server is shutting down and accepts no new requests.")

    def _may_start(self) -> bool:
        return len(self._workers) + self._num_starting < min(1 + self._num_slow, MAX_WORKERS)

    async def _give_back(self, worker: RenderWorker) -> None:
        if worker not in self._workers or self._idle:
            await self._discard(worker)  # one spare process is enough
        else:
            self._idle.append(worker)
            self._wake_one()

    async def _discard(self, worker: RenderWorker) -> None:
        self._workers.discard(worker)
        self._wake_one()
        await worker.kill()

    @contextmanager
    def _watch_for_slowness(self) -> Iterator[None]:
        is_slow = False

        def note() -> None:
            nonlocal is_slow
            is_slow = True
            self._num_slow += 1
            self._wake_one()

        timer = asyncio.get_running_loop().call_later(SLOW_AFTER_S, note)
        try:
            yield
        finally:
            timer.cancel()
            self._num_slow -= is_slow

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            else:  # woken and cancelled at the same time: wake the next one
                self._wake_one()
            raise

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
