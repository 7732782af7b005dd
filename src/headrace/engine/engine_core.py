"""The engine core: what is scheduled is computed, and what is computed is told.

Knows no process, no socket and no text; a front end hands it requests and calls ``step``.
"""

from collections.abc import Iterable

from headrace.core.clock import Clock
from headrace.core.outputs import RequestTimes
from headrace.core.request import Request
from headrace.engine.admission import check_request
from headrace.engine.execution.runner import Runner
from headrace.engine.messages import AddRequest, StepOutputs, TokenOutput
from headrace.scheduler.output import TokenUpdate
from headrace.scheduler.scheduler import Scheduler


class EngineCore:
    """Owns the scheduler and the runner, and turns the one's words into the other's."""

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        eos_token_ids: frozenset[int],
        vocab_size: int,
        clock: Clock,
    ) -> None:
        self._scheduler = scheduler
        self._runner = runner
        self._eos_token_ids = eos_token_ids
        self._vocab_size = vocab_size
        self._clock = clock
        self._has_news = False
        """Whether requests left without a step, so that the last stats no longer hold."""

    @property
    def has_work(self) -> bool:
        """Whether ``step`` would return something."""
        return self._has_news or self._scheduler.has_requests

    def add_end_tokens(self, token_ids: Iterable[int]) -> None:
        """Requests added from now on end at these tokens too; those that the model does not have
        are passed over."""
        known = (token_id for token_id in token_ids if 0 <= token_id < self._vocab_size)
        self._eos_token_ids = self._eos_token_ids.union(known)

    def add(self, message: AddRequest) -> None:
        """Queue one choice; raises InvalidRequestError when it could never be computed."""
        max_output_tokens = check_request(
            message.prompt_token_ids,
            message.params,
            vocab_size=self._vocab_size,
            max_model_len=self._scheduler.max_model_len,
            prior_output_token_ids=message.prior_output_token_ids,
        )
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
            prior_output_token_ids=message.prior_output_token_ids,
        )
        self._scheduler.add(request, self._clock.now())

    def abort(self, request_ids: list[str]) -> None:
        """Forget these requests and free their blocks; unknown ids are ignored."""
        self._scheduler.abort(request_ids)
        self._has_news = True

    def step(self) -> StepOutputs | None:
        """Compute one step and say what came of it; None when there was nothing to do."""
        if not self.has_work:
            return None
        self._has_news = False
        step = self._scheduler.schedule(self._clock.now())
        computed = self._runner.execute(step)  # of an empty step it hears who left
        updates = self._scheduler.update(step, computed, self._clock.now())
        return StepOutputs(
            outputs=[_token_output(update) for update in updates],
            stats=self._scheduler.stats(step.num_tokens),
        )


def _token_output(update: TokenUpdate) -> TokenOutput:
    request = update.request
    # With the first token too: one that ends in the front end, at a stop string, has no last word.
    tells_times = request.finished or request.num_new_tokens == len(update.token_ids)
    return TokenOutput(
        request_id=request.request_id,
        token_ids=update.token_ids,
        logprobs=update.logprobs,
        finish_reason=request.finish_reason,
        stop_token_id=request.stop_token_id,
        num_cached_tokens=request.num_cached_tokens,
        num_preemptions=request.num_preemptions,
        times=_times(request) if tells_times else None,
        failure=request.failure,
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
