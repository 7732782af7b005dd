"""The stream of one request's deltas to its caller.

Buffers deltas until the caller reads them, and notifies the engine when the caller closes it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType

from headrace.core.errors import HeadraceError
from headrace.core.generation.outputs import ChoiceDelta, FinishReason, TokenLogprobs


class RequestStream:
    """An async iterator of ChoiceDelta that ends when every choice has ended.

    Use it as ``async with``, or call ``aclose``, so that a request that is abandoned early is
    aborted at once. Raises EngineDeadError when the engine dies.
    """

    def __init__(
        self, request_id: str, num_choices: int, on_close: Callable[["RequestStream"], None]
    ) -> None:
        self.request_id = request_id
        self.prompt_logprobs: dict[int, list[TokenLogprobs]] = {}
        """By choice, of the prompt's tokens from the second one on, if requested: complete at the
        choice's first delta."""
        self._unfinished = set(range(num_choices))
        self._on_close = on_close
        self._arrived: deque[ChoiceDelta] = deque()
        self._error: HeadraceError | None = None
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def num_unfinished_choices(self) -> int:
        return len(self._unfinished)

    @property
    def finished(self) -> bool:
        """Whether no more deltas will arrive; unread ones may be left."""
        return not self._unfinished

    def add_prompt_logprobs(self, choice: int, entries: list[TokenLogprobs]) -> None:
        """Add the next ones of a choice (called by the engine)."""
        self.prompt_logprobs.setdefault(choice, []).extend(entries)

    def push(self, delta: ChoiceDelta) -> None:
        """Add a delta (called by the engine)."""
        self._arrived.append(delta)
        if delta.finish_reason is not None:
            self._unfinished.discard(delta.index)
        self._wake()

    def abort(self) -> None:
        """End every unfinished choice (called by the engine)."""
        for index in sorted(self._unfinished):
            self.push(ChoiceDelta(index, "", [], finish_reason=FinishReason.ABORT))

    def fail(self, error: HeadraceError) -> None:
        """End the stream with this error, after unread deltas (called by the engine)."""
        self._unfinished.clear()
        self._error = error
        self._wake()

    async def aclose(self) -> None:
        """Drop unread deltas, and abort the request if it is unfinished."""
        if self._closed:
            return
        self._closed = True
        self._arrived.clear()
        if self._unfinished:
            self._on_close(self)
            self._unfinished.clear()
        self._wake()

    def __aiter__(self) -> "RequestStream":
        return self

    async def __anext__(self) -> ChoiceDelta:
        while not self._arrived:
            if self._error is not None:
                raise self._error
            if not self._unfinished:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._arrived.popleft()

    async def __aenter__(self) -> "RequestStream":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
