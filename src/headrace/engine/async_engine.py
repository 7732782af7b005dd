"""The engine's asyncio interface: submit token ids, iterate over the output.

The core computes in its own process. Admission, detokenization and metrics run here, on the event
loop's thread.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from headrace.core.clock import Clock, MonotonicClock
from headrace.core.errors import EngineDeadError, EngineDrainingError, QueueFullError
from headrace.core.generation.sampling_params import SamplingParams
from headrace.core.generation.stats import EngineStats
from headrace.engine.adapters.adapter_client import AdapterClient
from headrace.engine.admission import NewRequest, check_capacity, check_request, choose_seed
from headrace.engine.config import EngineConfig
from headrace.engine.daemon_thread import in_daemon_thread
from headrace.engine.grammar.checker import GrammarChecker
from headrace.engine.messages import (
    AbortRequests,
    AddEndTokens,
    AddRequest,
    CoreReady,
    ResetPrefixCache,
    StartupPhase,
    StepOutputs,
)
from headrace.engine.metrics_hooks import EngineObserver
from headrace.engine.outputs.output_processor import OutputProcessor
from headrace.engine.outputs.request_stream import RequestStream
from headrace.engine.process.core_client import DEFAULT_FACTORY, CoreClient
from headrace.engine.rendering.chat_template import ChatTemplate
from headrace.engine.rendering.end_tokens import end_token_ids
from headrace.engine.tokenization.bad_words import encode_bad_words
from headrace.engine.tokenization.detokenizer import Detokenizer
from headrace.engine.tokenization.tokenizer import Tokenizer, load_tokenizer
from headrace.models.sources.files import ModelFiles
from headrace.models.sources.progress import Progress
from headrace.models.sources.resolve import resolve_model

__all__ = ["AsyncEngine", "NewRequest", "RequestStream"]

RETRY_AFTER_S = 2
"""Sent to rejected clients as Retry-After. Places in the queue become free with every step."""

OnPhase = Callable[[StartupPhase], None]


class AsyncEngine:
    """One model, served to one asyncio loop. ``await AsyncEngine.start(config, ...)``."""

    def __init__(
        self,
        client: CoreClient,
        ready: CoreReady,
        tokenizer: Tokenizer,
        model_files: ModelFiles,
        config: EngineConfig,
        *,
        max_queue: int | None,
        observer: EngineObserver | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.ready = ready
        self.tokenizer = tokenizer
        self.model_files = model_files
        self.config = config
        self._client = client
        self._max_queue = max_queue
        self._observer = observer
        self._clock = clock or MonotonicClock()
        self._outputs = OutputProcessor(tokenizer.backend, observer)
        self._streams: dict[str, RequestStream] = {}
        self._num_choices = 0
        """Unfinished choices of all streams."""
        self._core_stats = EngineStats(num_blocks=ready.num_blocks)
        self._grammars = GrammarChecker()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.adapters = AdapterClient(client.send)
        client.listen(self._on_step, self._on_dead, self.adapters.on_loaded)
        self.add_end_tokens_of(ChatTemplate(model_files, tokenizer))

    @classmethod
    async def start(
        cls,
        config: EngineConfig,
        *,
        max_queue: int | None,
        observer: EngineObserver | None = None,
        on_phase: OnPhase | None = None,
        progress: Progress | None = None,
    ) -> "AsyncEngine":
        """Fetch the model, load its tokenizer and start its core, concurrently where possible."""
        clock = MonotonicClock()
        client = await CoreClient.spawn(config.num_threads)
        try:
            began = clock.now()
            files = await in_daemon_thread(
                lambda: resolve_model(config.model, revision=config.revision, progress=progress)
            )
            # Only its end is reported: until then, ``progress`` writes to the terminal.
            found = StartupPhase("get model", clock.now() - began)
            if on_phase is not None:
                on_phase(found)
            ready, tokenizer = await asyncio.gather(
                client.start(config, files, on_phase),
                in_daemon_thread(lambda: load_tokenizer(files, config.tokenizer)),
            )
        except BaseException:
            await client.kill()
            raise
        ready = msgspec.structs.replace(
            ready, phases=[(found.name, found.seconds or 0.0), *ready.phases]
        )
        return cls(client, ready, tokenizer, files, config, max_queue=max_queue, observer=observer)

    @classmethod
    async def start_with(
        cls,
        config: EngineConfig,
        files: ModelFiles,
        tokenizer: Tokenizer,
        *,
        factory: str = DEFAULT_FACTORY,
        max_queue: int | None = None,
        observer: EngineObserver | None = None,
        on_phase: OnPhase | None = None,
    ) -> "AsyncEngine":
        """Start the core for local files and a loaded tokenizer."""
        client = await CoreClient.spawn(config.num_threads, factory)
        try:
            ready = await client.start(config, files, on_phase)
        except BaseException:
            await client.kill()
            raise
        return cls(client, ready, tokenizer, files, config, max_queue=max_queue, observer=observer)

    @property
    def max_model_len(self) -> int:
        return self.ready.max_model_len

    @property
    def sampling_defaults(self) -> dict[str, float]:
        """Recommended sampling parameters of the model, for requests that set none."""
        return {**self.ready.sampling_defaults, **self.model_files.sampling_defaults}

    @property
    def num_unfinished(self) -> int:
        """Requests whose streams have not ended."""
        return len(self._streams)

    @property
    def is_alive(self) -> bool:
        return self._client.dead_error is None

    @property
    def is_draining(self) -> bool:
        return self._draining

    @property
    def dead_error(self) -> EngineDeadError | None:
        """Why the core ended; None while it runs."""
        return self._client.dead_error

    @property
    def core_pid(self) -> int:
        return self._client.pid

    @property
    def stats(self) -> EngineStats:
        """The core's stats after its last step; requests sent since then count as waiting."""
        return msgspec.structs.replace(self._core_stats, num_waiting=self._num_waiting())

    def create_detokenizer(self, params: SamplingParams) -> Detokenizer:
        """A new detokenizer, as it is used for outputs with these parameters."""
        return self._outputs.create_detokenizer(params)

    def add_end_tokens_of(self, template: ChatTemplate) -> None:
        """Also end requests at the token with which this template ends an assistant's turn."""
        token_ids = end_token_ids(self.tokenizer, template)
        if token_ids and self.is_alive:
            self._client.send(AddEndTokens(sorted(token_ids)))

    async def check_grammar(self, params: SamplingParams) -> None:
        """Before submitting: raises InvalidParameterError, with the grammar's ``param``."""
        if params.grammar is not None:
            await self._grammars.check(params.grammar)

    def reset_prefix_cache(self) -> None:
        """Empty the prefix cache for requests submitted from now on. Raises EngineDeadError."""
        self._client.send(ResetPrefixCache())

    def submit(
        self,
        prompt_token_ids: list[int],
        params: SamplingParams,
        *,
        request_id: str,
        prompt: str | None = None,
        cache_salt: str = "",
        arrival_time: float | None = None,
    ) -> RequestStream:
        """Send a prompt to the core; its deltas arrive in the stream.

        Raises EngineDeadError, EngineDrainingError, InvalidRequestError (its InvalidParameterError
        or ContextLengthError if one applies) or QueueFullError, with nothing sent.
        """
        request = NewRequest(request_id, prompt_token_ids, prompt)
        [stream] = self.submit_all(
            [request], params, cache_salt=cache_salt, arrival_time=arrival_time
        )
        return stream

    def submit_all(
        self,
        requests: Sequence[NewRequest],
        params: SamplingParams,
        *,
        cache_salt: str = "",
        arrival_time: float | None = None,
    ) -> list[RequestStream]:
        """Send all of these prompts to the core, or none; raises the errors of ``submit``."""
        if self._client.dead_error is not None:
            raise self._client.dead_error
        if self._draining:
            raise EngineDrainingError("The server is shutting down and accepts no new requests.")
        if params.bad_words:
            params = encode_bad_words(params, self.tokenizer)
        limits = [
            check_request(
                request.prompt_token_ids,
                params,
                vocab_size=self.ready.vocab_size,
                max_model_len=self.ready.max_model_len,
                max_logprobs=self.config.max_logprobs,
                prior_output_token_ids=request.prior_output_token_ids,
                pooling=request.pooling,
                spec=self.ready.pooling,
            )
            for request in requests
        ]
        self.check_queue(params.n, num_prompts=len(requests))
        arrival_time = self._clock.now() if arrival_time is None else arrival_time
        streams: list[RequestStream] = []
        try:
            for request, limit in zip(requests, limits, strict=True):
                streams.append(self._start(request, params, limit, arrival_time, cache_salt))
        except BaseException:
            for stream in streams:
                self._abort(stream)
            raise
        self._publish_stats()
        return streams

    def check_queue(self, num_choices: int, *, num_prompts: int = 1) -> None:
        """Check that ``num_choices`` of each of ``num_prompts`` fit into the queue now: at most
        ``max_queue`` choices may wait beyond those that the next steps can admit.

        Raises QueueFullError when a retry may succeed, InvalidParameterError when they can never be
        accepted at once.
        """
        if self._max_queue is None:
            return
        check_capacity(num_choices, num_prompts, self.config.max_num_seqs, self._max_queue)
        num_running = min(self._core_stats.num_running, self._num_choices)
        num_waiting = self._num_choices - num_running
        # If the core leaves requests waiting, it has no free blocks, or max_num_seqs are running.
        is_full = self._core_stats.num_waiting > 0 and num_waiting > 0
        num_free_places = 0 if is_full else self.config.max_num_seqs - num_running
        if num_waiting + num_choices * num_prompts > self._max_queue + num_free_places:
            raise QueueFullError(self._max_queue, RETRY_AFTER_S)

    async def drain(self, timeout_s: float) -> bool:
        """Reject new requests and wait for unfinished ones; those left after ``timeout_s`` are
        aborted. Returns whether all finished."""
        self._draining = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            self._abort_all()
            return False
        return True

    async def shutdown(self) -> None:
        """Abort unfinished requests and end the core's process."""
        self._draining = True
        self._abort_all()
        self._grammars.close()
        await self._client.shutdown()

    async def wait_dead(self) -> EngineDeadError:
        """Wait until the core ends unexpectedly."""
        return await self._client.wait_dead()

    def _start(
        self,
        request: NewRequest,
        params: SamplingParams,
        max_output_tokens: int,
        arrival_time: float,
        cache_salt: str,
    ) -> RequestStream:
        request_id, token_ids = request.request_id, request.prompt_token_ids
        adapter_id = self.adapters.acquire(request_id, request.adapter)
        self._outputs.add(
            request_id,
            request.prompt,
            token_ids,
            params,
            arrival_time,
            max_output_tokens,
            request.prior_output_token_ids,
        )
        stream = RequestStream(request_id, params.n, self._abort)
        self._streams[request_id] = stream
        self._num_choices += params.n
        self._idle.clear()
        seed = choose_seed(params)
        try:
            for choice, core_id in enumerate(self._outputs.core_request_ids(request_id)):
                self._client.send(
                    AddRequest(
                        core_id,
                        token_ids,
                        params,
                        arrival_time,
                        choice,
                        seed,
                        cache_salt,
                        request.prior_output_token_ids,
                        request.priority,
                        request.pooling,
                        adapter_id,
                    )
                )
        except BaseException:  # a message that cannot be encoded
            self._abort(stream)
            raise
        return stream

    def _num_waiting(self) -> int:
        """Unfinished choices that were not running after the core's last step."""
        return max(0, self._num_choices - self._core_stats.num_running)

    def _on_step(self, step: StepOutputs) -> None:
        self._core_stats = step.stats
        processed = self._outputs.process(step, self._clock.now())
        if processed.aborts:
            self._client.send(AbortRequests(processed.aborts))
        for chunk in processed.prompt_logprobs:
            self._streams[chunk.request_id].add_prompt_logprobs(chunk.choice, chunk.entries)
        for arrived in processed.deltas:
            stream = self._streams[arrived.request_id]
            stream.push(arrived.delta)
            if arrived.delta.finish_reason is not None:
                self._num_choices -= 1
            if arrived.is_last:
                self._remove(stream)

    def _on_dead(self, error: EngineDeadError) -> None:
        self._outputs.fail_all(self._clock.now())
        self.adapters.fail(error)
        for stream in list(self._streams.values()):
            self._remove(stream)
            stream.fail(error)
        self._core_stats = msgspec.structs.replace(
            self._core_stats, num_running=0, num_used_blocks=0
        )
        self._publish_stats()

    def _abort(self, stream: RequestStream) -> None:
        """Abort a request; its stream gets nothing more."""
        core_ids = self._outputs.abort(stream.request_id, self._clock.now())
        if core_ids and self.is_alive:
            self._client.send(AbortRequests(core_ids))
        self._remove(stream)
        self._publish_stats()

    def _abort_all(self) -> None:
        for stream in list(self._streams.values()):
            self._abort(stream)
            stream.abort()

    def _remove(self, stream: RequestStream) -> None:
        self._streams.pop(stream.request_id, None)
        self.adapters.release(stream.request_id)
        self._num_choices -= stream.num_unfinished_choices
        if not self._streams:
            self._idle.set()

    def _publish_stats(self) -> None:
        """Report stats between steps; after a step, the output processor reports them."""
        if self._observer is not None:
            self._observer.on_stats(msgspec.structs.replace(self.stats, num_scheduled_tokens=0))
