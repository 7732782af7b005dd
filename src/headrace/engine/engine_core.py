"""The engine core: schedules a step, executes it, and reports its outputs.

A front end adds requests and calls ``step``, in the same process or over a socket. While a step is
computed, a second thread passes on the outputs of the last one and plans the next one.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

from headrace.core.clock import Clock
from headrace.core.errors import AdapterError, HeadraceError, InvalidParameterError
from headrace.core.generation.outputs import FinishReason, RequestFailure, RequestTimes
from headrace.core.generation.pooling import PoolingSpec
from headrace.core.generation.request import Request
from headrace.engine.adapters.adapter_loader import AdapterLoader
from headrace.engine.admission import check_request
from headrace.engine.background_thread import BackgroundThread
from headrace.engine.execution.runner import Runner
from headrace.engine.grammar.constraints import GrammarConstraints
from headrace.engine.grammar.token_masks import TokenMasks
from headrace.engine.messages import (
    AdapterLoaded,
    AddRequest,
    LoadAdapter,
    PromptLogprobs,
    StepOutputs,
    TokenOutput,
)
from headrace.scheduler.output import RunnerOutput, SchedulerOutput, TokenUpdate
from headrace.scheduler.scheduler import Scheduler

logger = logging.getLogger(__name__)

_IDLE_WAIT_S = 0.005
"""How long an idle core waits for a grammar or an adapter, so that messages are handled."""


class EngineCore:
    """Owns the scheduler, the runner and the grammars, and passes each step between them."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        eos_token_ids: frozenset[int],
        vocab_size: int,
        clock: Clock,
        constraints: GrammarConstraints | None = None,
        pooling: PoolingSpec | None = None,
        adapters: AdapterLoader[Any] | None = None,
    ) -> None:
        """constraints: follows the grammars of requests; None refuses such requests.

        pooling: the runner gives vectors; None if it samples tokens.
        adapters: loads LoRA adapters; None refuses requests that have one.
        """
        self._scheduler = scheduler
        self._runner = runner
        self._eos_token_ids = eos_token_ids
        self._vocab_size = vocab_size
        self._clock = clock
        self._constraints = constraints
        self._pooling = pooling
        self._adapters = adapters
        self._beside = BackgroundThread("headrace-beside-step")
        self._stats_dirty = False
        """Whether requests were aborted since the last step, so that its stats are outdated."""

    @property
    def has_work(self) -> bool:
        """Whether ``step`` returns outputs or new stats, or ``take_loaded_adapters`` adapters."""
        return (
            self._stats_dirty
            or self._scheduler.has_requests
            or self._is_compiling
            or (self._adapters is not None and self._adapters.is_loading)
        )

    @property
    def _is_compiling(self) -> bool:
        return self._constraints is not None and self._constraints.is_compiling

    def add_end_tokens(self, token_ids: Iterable[int]) -> None:
        """Also end requests that are added from now on at these tokens. Ids outside the vocabulary
        are ignored."""
        known = (token_id for token_id in token_ids if 0 <= token_id < self._vocab_size)
        self._eos_token_ids = self._eos_token_ids.union(known)

    def add(self, message: AddRequest) -> None:
        """Queue one choice; raises InvalidRequestError when it cannot be computed. A request whose
        grammar is new is queued once that is compiled; one whose grammar is invalid fails then."""
        max_output_tokens = check_request(
            message.prompt_token_ids,
            message.params,
            vocab_size=self._vocab_size,
            max_model_len=self._scheduler.max_model_len,
            prior_output_token_ids=message.prior_output_token_ids,
            pooling=message.pooling,
            spec=self._pooling,
        )
        if message.adapter_id and not self.has_adapter(message.adapter_id):
            raise AdapterError("The request's adapter is not loaded.")
        request = Request(
            request_id=message.request_id,
            prompt_token_ids=message.prompt_token_ids,
            params=message.params,
            max_output_tokens=max_output_tokens,
            arrival_time=message.arrival_time,
            choice=message.choice,
            seed=message.seed,
            eos_token_ids=self._eos_token_ids,
            cache_salt=message.cache_salt,
            priority=message.priority,
            prior_output_token_ids=message.prior_output_token_ids,
            pooling=message.pooling,
            skips_cached_prefix=self._pooling is not None and self._pooling.pooling != "last",
            adapter_id=message.adapter_id,
        )
        if message.params.grammar is None or self._constrain(request):
            self._scheduler.add(request, self._clock.now())

    def _constrain(self, request: Request) -> bool:
        """Whether the request's grammar is ready."""
        if self._constraints is None:
            raise InvalidParameterError("grammar", "is not supported by this engine")
        return self._constraints.add(request)

    def abort(self, request_ids: list[str]) -> None:
        """End these requests and free their blocks; unknown ids are ignored."""
        self._scheduler.abort(request_ids)
        if self._constraints is not None:
            self._constraints.release(request_ids)
        self._stats_dirty = True

    def has_adapter(self, adapter_id: int) -> bool:
        """Whether requests may have this adapter."""
        return self._adapters is not None and adapter_id in self._adapters

    def load_adapter(self, message: LoadAdapter) -> None:
        """Begin to load it; ``take_loaded_adapters`` says how that ended."""
        if self._adapters is None:
            raise AdapterError("This engine has no adapters; start it with --enable-lora.")
        self._adapters.load(message.adapter_id, message.path)

    def unload_adapter(self, adapter_id: int) -> None:
        """Free an adapter that no unfinished request has. Call it between steps."""
        if self._adapters is not None:
            self._adapters.unload(adapter_id)

    def take_loaded_adapters(self) -> list[AdapterLoaded]:
        """Make adapters usable that have been read by now. Call it between steps."""
        if self._adapters is None or not self._adapters.is_loading:
            return []
        is_idle = not (self._stats_dirty or self._scheduler.has_requests or self._is_compiling)
        return self._adapters.take_loaded(_IDLE_WAIT_S if is_idle else 0.0)

    def reset_prefix_cache(self) -> None:
        """Empty the prefix cache; requests in progress continue. Call it between steps."""
        self._scheduler.reset_prefix_cache()

    def step(self, meanwhile: Callable[[], None] | None = None) -> StepOutputs | None:
        """Compute one step and return its outputs; None when there was nothing to do.

        ``meanwhile``: called on another thread while the step is computed. It may not call this
        core. What it raises is raised here, after the step.
        """
        if not self.has_work:
            return None
        failed = self._admit_compiled() if self._is_compiling else []
        if not (failed or self._stats_dirty or self._scheduler.has_requests):
            if meanwhile is not None:
                meanwhile()
            return None  # grammars are being compiled, and there is nothing else to do
        self._stats_dirty = False
        step = self._scheduler.schedule(self._clock.now())
        computed = self._execute(step, meanwhile)  # an empty step still releases requests
        if self._constraints is not None:
            computed = self._constraints.advance(step, computed)
        updates = self._scheduler.update(step, computed, self._clock.now())
        if self._constraints is not None:
            self._constraints.release_finished(updates)
        return StepOutputs(
            outputs=[*failed, *map(_token_output, updates)],
            stats=self._scheduler.stats(step.num_tokens),
            prompt_logprobs=[
                PromptLogprobs(request_id, entries)
                for request_id, entries in computed.prompt_logprobs.items()
            ],
        )

    def _admit_compiled(self) -> list[TokenOutput]:
        """Queue the requests whose grammars are ready; returns the end of those that failed."""
        assert self._constraints is not None
        is_idle = not (self._stats_dirty or self._scheduler.has_requests)
        failed = []
        for request, error in self._constraints.take_compiled(_IDLE_WAIT_S if is_idle else 0.0):
            try:
                if error is not None:
                    raise error
                self._scheduler.add(request, self._clock.now())
            except Exception as reason:
                if not isinstance(reason, HeadraceError):
                    logger.exception("Grammar of request %s", request.request_id)
                failed.append(_failed_output(request.request_id, reason))
        return failed

    def _execute(self, step: SchedulerOutput, meanwhile: Callable[[], None] | None) -> RunnerOutput:
        compute_masks = None if self._constraints is None else self._constraints.masks(step)
        masks: Future[TokenMasks] | None = None if compute_masks is None else Future()

        def work() -> None:
            if masks is not None and compute_masks is not None:
                try:  # first, because the runner waits for them
                    masks.set_result(compute_masks())
                except BaseException as error:
                    masks.set_exception(error)
            if meanwhile is not None:
                meanwhile()
            self._scheduler.plan_ahead(step)

        self._beside.start(work)
        try:
            if masks is None:
                return self._runner.execute(step)
            return self._runner.execute(step, masks.result)
        finally:
            self._beside.join()


def _failed_output(request_id: str, error: Exception) -> TokenOutput:
    return TokenOutput(
        request_id,
        [],
        None,
        finish_reason=FinishReason.ERROR,
        failure=RequestFailure.from_error(error),
    )


def _token_output(update: TokenUpdate) -> TokenOutput:
    request = update.request
    # With the first token too: the front end may end the request at a stop string.
    has_times = request.finished or request.num_new_tokens == len(update.token_ids)
    return TokenOutput(
        request_id=request.request_id,
        token_ids=update.token_ids,
        logprobs=update.logprobs,
        finish_reason=request.finish_reason,
        stop_token_id=request.stop_token_id,
        num_cached_tokens=request.num_cached_tokens,
        num_preemptions=request.num_preemptions,
        times=_times(request) if has_times else None,
        failure=request.failure,
        is_complete=request.is_complete,
        vector=request.vector,
    )


def _times(request: Request) -> RequestTimes | None:
    if (
        request.scheduled_time is None
        or request.first_token_time is None
        or request.last_token_time is None
    ):
        return None
    return RequestTimes(
        arrival=request.arrival_time,
        queued=request.queued_time,
        scheduled=request.scheduled_time,
        first_token=request.first_token_time,
        last_token=request.last_token_time,
    )
