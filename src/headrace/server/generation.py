"""Runs the prompts of one HTTP request in the engine and merges their deltas into one stream."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType

from headrace.core.errors import EngineDrainingError, HeadraceError, RequestFailedError
from headrace.core.generation.outputs import (
    ChoiceDelta,
    CompletionOutput,
    FinishReason,
    TokenLogprobs,
)
from headrace.core.generation.pooling import PoolingParams
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.adapters.loaded_adapter import LoadedAdapter
from headrace.engine.async_engine import AsyncEngine, NewRequest, RequestStream
from headrace.server.http.request_tracker import GenerationRecord


class TokenUsage:
    """Counts prompt, output and cached tokens of one HTTP request."""

    def __init__(self, prompts: list[list[int]], n: int) -> None:
        self._n = n
        self._cached = [0] * len(prompts)
        self.num_prompt_tokens = sum(map(len, prompts))
        self.num_output_tokens = 0

    @property
    def num_cached_tokens(self) -> int:
        return sum(self._cached)

    def add(self, delta: ChoiceDelta) -> None:
        self.num_output_tokens += len(delta.token_ids)
        prompt, choice = divmod(delta.index, self._n)
        # Only the first choice counts: the other choices hit the cache that it filled.
        if choice == 0:
            self._cached[prompt] = delta.num_cached_tokens

    def to_dict(self, num_unsent: int = 0) -> dict[str, object]:
        """num_unsent: output tokens that were counted but not sent yet."""
        num_output_tokens = self.num_output_tokens - num_unsent
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": num_output_tokens,
            "total_tokens": self.num_prompt_tokens + num_output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.num_cached_tokens},
        }


class Generation:
    """A context manager that submits the prompts and aborts unfinished ones at its exit.

    The index of a delta is that of its choice in the response: position of the prompt * n + choice.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        prompts: list[list[int]],
        params: SamplingParams,
        *,
        record: GenerationRecord,
        cache_salt: str = "",
        priority: int = 0,
        pooling: Sequence[PoolingParams] | None = None,
        adapter: LoadedAdapter | None = None,
    ) -> None:
        """pooling: asks for a vector of each prompt, in place of tokens.

        record: filled in as the deltas arrive; its request_id is the engine's.
        """
        self._engine = engine
        self._prompts = prompts
        self._params = params
        self._record = record
        self._cache_salt = cache_salt
        self._priority = priority
        self._pooling: Sequence[PoolingParams | None] = pooling or [None] * len(prompts)
        self._adapter = adapter
        self._streams: list[RequestStream] = []
        self.usage = TokenUsage(prompts, params.n)

    async def __aenter__(self) -> "Generation":
        """Submit all prompts or none; raises the errors of AsyncEngine.submit_all."""
        several = len(self._prompts) > 1
        request_id = self._record.request_id
        requests = [
            NewRequest(
                f"{request_id}-{position}" if several else request_id,
                prompt,
                priority=self._priority,
                pooling=pooling,
                adapter=self._adapter,
            )
            for position, (prompt, pooling) in enumerate(
                zip(self._prompts, self._pooling, strict=True)
            )
        ]
        self._streams = self._engine.submit_all(requests, self._params, cache_salt=self._cache_salt)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def deltas(self) -> AsyncIterator[ChoiceDelta]:
        """The deltas of all choices as they arrive.

        Raises EngineDeadError or EngineDrainingError if generation was interrupted,
        RequestFailedError or InvalidRequestError if the engine failed on this request alone.
        """
        streams = self._streams
        source = streams[0] if len(streams) == 1 else _merge(streams, self._params.n)
        usage = self.usage
        async for delta in source:
            self._note(delta)
            if delta.finish_reason is not None:
                _check_result(delta)
            usage.add(delta)
            yield delta

    async def outputs(
        self, observe: Callable[[ChoiceDelta], object] | None = None
    ) -> list[CompletionOutput]:
        """All choices, once all are finished; raises as deltas() does.

        observe: called with each delta as it arrives.
        """
        with_logprobs = self._params.logprobs is not None
        outputs = [
            CompletionOutput(index, logprobs=[] if with_logprobs else None)
            for index in range(len(self._prompts) * self._params.n)
        ]
        async for delta in self.deltas():
            if observe is not None:
                observe(delta)
            output = outputs[delta.index]
            output.text += delta.text
            output.token_ids += delta.token_ids
            if output.logprobs is not None and delta.logprobs is not None:
                output.logprobs += delta.logprobs
            output.finish_reason = delta.finish_reason
            output.stop_reason = delta.stop_reason
        return outputs

    def prompt_logprobs(self, index: int) -> list[TokenLogprobs]:
        """Those of the prompt of the choice at this index, from the second token on: complete at
        the choice's first delta. Empty if none are requested."""
        position, choice = divmod(index, self._params.n)
        return self._streams[position].prompt_logprobs.get(choice, [])

    async def vectors(self) -> list[bytes]:
        """The vector of each prompt, float32 and little-endian; raises as deltas() does."""
        found = [b""] * len(self._prompts)
        async for delta in self.deltas():
            if delta.vector is not None:
                found[delta.index] = delta.vector
        return found

    def _note(self, delta: ChoiceDelta) -> None:
        record = self._record
        if delta.token_ids or delta.vector is not None:
            record.last_token_at = time.monotonic()
            if record.first_token_at is None:
                record.first_token_at = record.last_token_at
                record.times = delta.times
        if delta.finish_reason is not None:
            record.finish_reasons += (delta.finish_reason.value,)

    async def _close(self) -> None:
        for stream in self._streams:
            await stream.aclose()
        self._record.num_cached_tokens = self.usage.num_cached_tokens
        self._record.num_output_tokens = self.usage.num_output_tokens


def _check_result(delta: ChoiceDelta) -> None:
    """Raises for finish reasons that mean failure."""
    if delta.finish_reason is FinishReason.ABORT:
        raise EngineDrainingError("The server shut down before this request finished. Retry it.")
    if delta.finish_reason is FinishReason.ERROR:
        if delta.failure is not None:
            raise delta.failure.to_error()
        raise RequestFailedError("The engine failed on this request.")


async def _merge(streams: list[RequestStream], n: int) -> AsyncIterator[ChoiceDelta]:
    """The deltas of all streams as they arrive, with the choice's index in the response."""
    merged: asyncio.Queue[ChoiceDelta | HeadraceError | None] = asyncio.Queue()

    async def pump(position: int, stream: RequestStream) -> None:
        try:
            async for delta in stream:
                delta.index += position * n
                merged.put_nowait(delta)
        except HeadraceError as error:
            merged.put_nowait(error)
        else:
            merged.put_nowait(None)

    pumps = [asyncio.create_task(pump(*item)) for item in enumerate(streams)]
    try:
        num_open = len(pumps)
        while num_open:
            item = await merged.get()
            if isinstance(item, HeadraceError):
                raise item
            if item is None:
                num_open -= 1
            else:
                yield item
    finally:
        for task in pumps:
            task.cancel()
