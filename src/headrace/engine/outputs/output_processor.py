"""Turns the engine core's tokens into text, ends choices at stop strings and tracks the state of
requests.

Runs in the front end, on the caller's thread.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields

import msgspec
from tokenizers import Tokenizer

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.outputs import (
    ChoiceDelta,
    FinishReason,
    RequestFailure,
    RequestTimes,
    TokenLogprobs,
)
from headrace.core.generation.sampling_params import SamplingParams
from headrace.engine.messages import StepOutputs, TokenOutput
from headrace.engine.metrics_hooks import EngineObserver, FinishedChoice
from headrace.engine.outputs.request_collector import RequestCollector
from headrace.engine.outputs.stop_automaton import StopAutomaton
from headrace.engine.outputs.text_stream import TextStream
from headrace.engine.tokenization.detokenizer import Detokenizer, DetokenizerFactory

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RequestDelta:
    """What one step added to one choice of one request."""

    request_id: str
    delta: ChoiceDelta
    is_last: bool
    """The request has no unfinished choice after this; no more deltas follow."""


@dataclass(frozen=True, slots=True)
class ArrivedPromptLogprobs:
    """The log-probabilities of the next tokens of a prompt. Each choice has its own, all of them
    before its first delta."""

    request_id: str
    choice: int
    entries: list[TokenLogprobs]


@dataclass(frozen=True, slots=True)
class ProcessedStep:
    """The effects of one step on the unfinished requests."""

    deltas: list[RequestDelta] = field(default_factory=list)
    aborts: list[str] = field(default_factory=list)
    """Core request ids to abort in the core: they ended here, at a stop string or by a failure."""
    prompt_logprobs: list["ArrivedPromptLogprobs"] = field(default_factory=list)
    """To be taken before the deltas."""


class OutputProcessor:
    """The front end's state of all unfinished requests of one engine."""

    def __init__(self, backend: Tokenizer, observer: EngineObserver | None = None) -> None:
        self._detokenizers = DetokenizerFactory(backend)
        self._observer = observer
        self._requests: dict[str, _UnfinishedRequest] = {}
        self._choices: dict[str, _UnfinishedChoice] = {}
        """By core request id; only unfinished ones."""

    def create_detokenizer(self, params: SamplingParams) -> Detokenizer:
        """A new detokenizer, as it is used for outputs with these parameters."""
        return self._detokenizers.create(params.skip_special_tokens)

    @property
    def num_unfinished_requests(self) -> int:
        return len(self._requests)

    @property
    def num_unfinished_choices(self) -> int:
        return len(self._choices)

    def add(
        self,
        request_id: str,
        prompt: str | None,
        prompt_token_ids: list[int],
        params: SamplingParams,
        arrival_time: float,
        max_output_tokens: int,
        prior_output_token_ids: Sequence[int] = (),
    ) -> None:
        """Register a request: params.n choices, whose core ids ``core_request_ids`` returns.

        prior_output_token_ids: the beginning of the output, computed elsewhere; with params.n 1.
        Its text counts for stop strings and is in no delta.
        Raises InvalidParameterError if the id is in use or the prior output is complete already.
        """
        if request_id in self._requests:
            raise InvalidParameterError(
                "request_id", f"{request_id!r} is the id of a running request; use another id."
            )
        request = _UnfinishedRequest(
            request_id=request_id,
            prompt=prompt,
            prompt_token_ids=prompt_token_ids,
            params=params,
            arrival_time=arrival_time,
            max_output_tokens=max_output_tokens,
        )
        stops = StopAutomaton(params.stop) if params.stop else None
        kind = _PromptOnlyChoice if params.max_tokens == 0 else _UnfinishedChoice
        choices = [
            kind(
                core_request_id=f"{request_id}-{index}",
                index=index,
                request=request,
                text=TextStream(self.create_detokenizer(params), params, stops),
            )
            for index in range(params.n)
        ]
        if prior_output_token_ids:
            choices[0].resume(prior_output_token_ids)
        self._requests[request_id] = request
        for choice in choices:
            request.unfinished[choice.core_request_id] = choice
            self._choices[choice.core_request_id] = choice

    def core_request_ids(self, request_id: str) -> list[str]:
        """The core's ids of this request's unfinished choices; empty for an unknown id."""
        request = self._requests.get(request_id)
        return list(request.unfinished) if request is not None else []

    def collector(self, request_id: str) -> RequestCollector:
        """A collector for the deltas of this request. It starts with the output that was computed
        elsewhere, if any."""
        request = self._requests[request_id]
        collector = RequestCollector(
            request_id, request.prompt, request.prompt_token_ids, request.params.n
        )
        for choice in request.unfinished.values():
            output = collector.output.outputs[choice.index]
            output.text = choice.prior_text
            output.token_ids.extend(choice.prior_token_ids)
        return collector

    def process(self, step: StepOutputs, now: float) -> ProcessedStep:
        """Process one step of the core. Unknown ids are ignored: the core may send tokens until it
        has received an abort."""
        processed = ProcessedStep()
        for chunk in step.prompt_logprobs:
            choice = self._choices.get(chunk.request_id)
            if choice is not None:
                processed.prompt_logprobs.append(
                    ArrivedPromptLogprobs(choice.request.request_id, choice.index, chunk.entries)
                )
        num_tokens = 0
        for output in step.outputs:
            choice = self._choices.get(output.request_id)
            if choice is None:
                continue
            try:
                delta = choice.take(output)
            except Exception as error:
                logger.exception("Detokenizing request %s failed", output.request_id)
                delta = choice.fail(RequestFailure.from_error(error))
            num_tokens += len(delta.token_ids)
            self._observe_tokens(choice, len(delta.token_ids), now)
            if delta.finish_reason is not None:
                if output.vector is not None:
                    delta.vector = output.vector
                    self._observe_vector(choice, now)
                if output.finish_reason is None:
                    processed.aborts.append(output.request_id)
                    choice.end_in_front_end(now)
                self._finish(choice, delta.finish_reason, now)
            request = choice.request
            processed.deltas.append(
                RequestDelta(request.request_id, delta, is_last=not request.unfinished)
            )
        if self._observer is not None:
            if num_tokens:
                self._observer.on_tokens(num_tokens)
            self._observer.on_stats(step.stats)
        return processed

    def abort(self, request_id: str, now: float) -> list[str]:
        """End this request; returns the core ids of its unfinished choices."""
        core_request_ids = self.core_request_ids(request_id)
        for core_request_id in core_request_ids:
            self._finish(self._choices[core_request_id], FinishReason.ABORT, now)
        return core_request_ids

    def fail_all(self, now: float) -> list[RequestDelta]:
        """End every choice with an error, after the engine died."""
        deltas = []
        for choice in list(self._choices.values()):
            delta = ChoiceDelta(
                index=choice.index,
                text=choice.text.finish(),
                token_ids=[],
                finish_reason=FinishReason.ERROR,
                num_cached_tokens=choice.num_cached_tokens,
            )
            self._finish(choice, FinishReason.ERROR, now)
            request = choice.request
            deltas.append(RequestDelta(request.request_id, delta, is_last=not request.unfinished))
        return deltas

    def _observe_tokens(self, choice: "_UnfinishedChoice", num_new_tokens: int, now: float) -> None:
        if num_new_tokens == 0:
            return
        last_token_time = choice.last_token_time
        choice.last_token_time = now
        if self._observer is None:
            return
        if last_token_time is not None:
            self._observer.on_inter_token(now - last_token_time)
            return
        request = choice.request
        self._observer.on_first_token(
            request.num_prompt_tokens, choice.num_cached_tokens, now - request.arrival_time
        )

    def _observe_vector(self, choice: "_UnfinishedChoice", now: float) -> None:
        if self._observer is not None:
            request = choice.request
            self._observer.on_vector(
                request.num_prompt_tokens, choice.num_cached_tokens, now - request.arrival_time
            )

    def _finish(self, choice: "_UnfinishedChoice", reason: FinishReason, now: float) -> None:
        request = choice.request
        del self._choices[choice.core_request_id]
        del request.unfinished[choice.core_request_id]
        if not request.unfinished:
            del self._requests[request.request_id]
        request.longest_choice = max(request.longest_choice, choice.num_output_tokens)
        if self._observer is None:
            return
        if request.params.max_tokens == 0 and reason is FinishReason.LENGTH:
            # The token that was dropped tells that the prompt is computed.
            self._observer.on_first_token(
                request.num_prompt_tokens, choice.num_cached_tokens, now - request.arrival_time
            )
        self._observer.on_finished(
            FinishedChoice(
                finish_reason=reason,
                params=request.params,
                max_output_tokens=request.max_output_tokens,
                num_prompt_tokens=request.num_prompt_tokens,
                num_cached_tokens=choice.num_cached_tokens,
                num_output_tokens=choice.num_output_tokens,
                num_preemptions=choice.num_preemptions,
                arrival_time=request.arrival_time,
                finished_time=now,
                times=choice.times,
                longest_choice=None if request.unfinished else request.longest_choice,
            )
        )


@dataclass(slots=True, eq=False)
class _UnfinishedRequest:
    """What the choices of one request share."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    params: SamplingParams
    arrival_time: float
    max_output_tokens: int
    unfinished: dict[str, "_UnfinishedChoice"] = field(default_factory=dict)
    """By core request id."""
    longest_choice: int = 0
    """Output tokens of the longest choice that ended."""

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.prompt_token_ids)


@dataclass(slots=True, eq=False)
class _UnfinishedChoice:
    """One unfinished choice."""

    core_request_id: str
    index: int
    request: _UnfinishedRequest
    text: TextStream
    num_output_tokens: int = 0
    num_cached_tokens: int = 0
    num_preemptions: int = 0
    last_token_time: float | None = None
    times: RequestTimes | None = None
    prior_token_ids: Sequence[int] = ()
    """Output that was computed elsewhere."""
    prior_text: str = ""
    """Its text, without the end that is held back."""

    def resume(self, token_ids: Sequence[int]) -> None:
        """Continue an output after these tokens, computed elsewhere."""
        pieces = []
        for token_id in token_ids:
            pieces.append(self.text.push(token_id, ends_output=False))
            if self.text.stop is not None:
                raise InvalidParameterError(
                    "prior_output_token_ids", f"ends at the stop string {self.text.stop!r}"
                )
        self.prior_token_ids = token_ids
        self.prior_text = "".join(pieces)
        self.num_output_tokens = len(token_ids)

    def end_in_front_end(self, now: float) -> None:
        """Record the end of a choice that the core has not ended."""
        if self.times is not None:
            self.times = msgspec.structs.replace(self.times, last_token=now)

    def take(self, output: TokenOutput) -> ChoiceDelta:
        """The delta of these tokens. It ends at the token that completes a stop string."""
        self.num_cached_tokens = output.num_cached_tokens
        self.num_preemptions = output.num_preemptions
        self.times = output.times if output.times is not None else self.times
        ended_by_token = output.finish_reason is FinishReason.STOP and not output.is_complete
        pieces = []
        num_taken = 0
        for token_id in output.token_ids:
            num_taken += 1
            ends = ended_by_token and num_taken == len(output.token_ids)
            pieces.append(self.text.push(token_id, ends))
            if self.text.stop is not None:
                break
        self.num_output_tokens += num_taken
        if output.finish_reason is not None and self.text.stop is None:
            pieces.append(self.text.finish())
        delta = ChoiceDelta(
            index=self.index,
            text="".join(pieces),
            token_ids=output.token_ids[:num_taken],
            logprobs=None if output.logprobs is None else output.logprobs[:num_taken],
            finish_reason=output.finish_reason,
            stop_reason=output.stop_token_id,
            num_cached_tokens=self.num_cached_tokens,
            failure=output.failure,
            times=output.times,
        )
        if self.text.stop is None:
            return delta
        return replace_fields(delta, finish_reason=FinishReason.STOP, stop_reason=self.text.stop)

    def fail(self, failure: RequestFailure) -> ChoiceDelta:
        """The last delta of a choice whose tokens cannot be detokenized."""
        return ChoiceDelta(
            index=self.index,
            text="",
            token_ids=[],
            finish_reason=FinishReason.ERROR,
            num_cached_tokens=self.num_cached_tokens,
            failure=failure,
        )


class _PromptOnlyChoice(_UnfinishedChoice):
    """A choice without output: it ends when its prompt is computed, and the token that the core
    drew is dropped."""

    def take(self, output: TokenOutput) -> ChoiceDelta:
        self.num_cached_tokens = output.num_cached_tokens
        self.num_preemptions = output.num_preemptions
        self.times = output.times
        failed = output.finish_reason in (FinishReason.ABORT, FinishReason.ERROR)
        return ChoiceDelta(
            index=self.index,
            text="",
            token_ids=[],
            logprobs=None if output.logprobs is None else [],
            finish_reason=output.finish_reason if failed else FinishReason.LENGTH,
            num_cached_tokens=output.num_cached_tokens,
            failure=output.failure,
            times=output.times,
        )
