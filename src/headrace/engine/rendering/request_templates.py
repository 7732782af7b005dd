"""Renders chat templates that come with requests, which a server trusts no more than to let them
run in a process with limits of time and memory.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from headrace.core.errors import QueueFullError
from headrace.engine.rendering.prompt_template import RenderJob, TemplateDefinition
from headrace.engine.rendering.render_worker import render_once

MAX_RENDERINGS = 2
"""At once; each may have a process of its own."""
MAX_WAITING = 64
"""Renderings that run or wait; more are rejected."""
RETRY_AFTER_S = 5


class RequestTemplates:
    """For one event loop."""

    def __init__(self, named_tokens: Mapping[str, str]) -> None:
        self._named_tokens = dict(named_tokens)
        self._threads = ThreadPoolExecutor(MAX_RENDERINGS, "render")
        self._num_unfinished = 0

    async def render(self, source: str, job: RenderJob) -> str:
        """The prompt. Raises InvalidRequestError, also when a limit was reached, or QueueFullError
        when too many wait."""
        if self._num_unfinished >= MAX_WAITING:
            raise QueueFullError(MAX_WAITING, RETRY_AFTER_S)
        self._num_unfinished += 1
        definition = TemplateDefinition(source, self._named_tokens)
        loop = asyncio.get_running_loop()
        rendering = loop.run_in_executor(self._threads, render_once, definition, job)
        rendering.add_done_callback(self._count_finished)
        return await rendering

    def close(self) -> None:
        """End the threads, after what they are doing."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _count_finished(self, _: asyncio.Future[str]) -> None:
        self._num_unfinished -= 1
