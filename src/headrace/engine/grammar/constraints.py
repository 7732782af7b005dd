"""Structured output in the engine core: the matchers of all requests with a grammar.

The masks of a step are computed while the runner computes its logits, and the matchers advance
before the scheduler records the step.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait

import numpy as np
from llguidance import LLExecutor

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.outputs import RequestFailure
from headrace.core.generation.request import Request
from headrace.engine.grammar.compiler import CompiledGrammar, GrammarCompiler
from headrace.engine.grammar.matcher import RequestMatcher
from headrace.engine.grammar.token_masks import TokenMasks
from headrace.scheduler.output import (
    EntryResult,
    FailedEntry,
    RunnerOutput,
    SampledTokens,
    SchedulerOutput,
    TokenUpdate,
)

logger = logging.getLogger(__name__)

NUM_MASK_THREADS = 2
"""Masks of one step that are computed at once, while the model's own threads work."""

MAX_MOVES = 3
"""Times that a request continues in a newly compiled grammar, after the one that it shares with
other requests has reached a limit. A grammar that is only widely used takes long to reach it
again; a request whose own output needs too much fails after these."""

Compiled = tuple[Request, Exception | None]
"""A request whose grammar is ready, or the reason for which it is not."""


class GrammarConstraints:
    """Owns the grammar of every request from ``add`` until ``release``.

    ``masks`` may run on another thread; all else is called between steps.
    """

    def __init__(self, compiler: GrammarCompiler) -> None:
        self._compiler = compiler
        self._matchers: dict[str, RequestMatcher] = {}
        self._compiling: dict[str, tuple[Request, Future[CompiledGrammar]]] = {}
        self._executor: LLExecutor | None = None

    @property
    def is_compiling(self) -> bool:
        """Whether ``take_compiled`` will return requests."""
        return bool(self._compiling)

    @property
    def num_requests(self) -> int:
        return len(self._matchers) + len(self._compiling)

    def add(self, request: Request) -> bool:
        """Prepare a request with a grammar; returns False if its grammar must be compiled first:
        then ``take_compiled`` returns the request.

        Raises InvalidParameterError if the request's prior output does not match.
        """
        grammar = request.params.grammar
        assert grammar is not None
        if request.request_id in self._matchers or request.request_id in self._compiling:
            raise InvalidParameterError(
                "request_id", f"{request.request_id!r} is in use by an unfinished request"
            )
        compiled = self._compiler.cached(grammar)
        if compiled is None:
            future = self._compiler.compile(grammar, request.eos_token_ids)
            self._compiling[request.request_id] = (request, future)
            return False
        self._start(request, compiled)
        return True

    def take_compiled(self, timeout_s: float = 0.0) -> list[Compiled]:
        """The requests whose grammars are compiled by now, or by the first one's end within
        ``timeout_s``."""
        if timeout_s > 0:
            futures = [future for _, future in self._compiling.values()]
            wait(futures, timeout_s, FIRST_COMPLETED)
        taken: list[Compiled] = []
        for request_id, (request, future) in list(self._compiling.items()):
            if not future.done():
                continue
            del self._compiling[request_id]
            error: Exception | None = None
            try:
                self._start(request, future.result())
            except Exception as raised:
                error = raised
            taken.append((request, error))
        return taken

    def release(self, request_ids: Iterable[str]) -> None:
        """Forget these requests; unknown ids are ignored."""
        for request_id in request_ids:
            self._matchers.pop(request_id, None)
            if (compiling := self._compiling.pop(request_id, None)) is not None:
                compiling[1].cancel()

    def release_finished(self, updates: Iterable[TokenUpdate]) -> None:
        """Forget the requests that a step has ended."""
        if self._matchers:
            self.release(each.request.request_id for each in updates if each.request.finished)

    def masks(self, step: SchedulerOutput) -> Callable[[], TokenMasks] | None:
        """A function that computes the masks of this step; None if it needs none."""
        if not self._matchers:
            return None
        sampling = [
            (entry.request_id, matcher)
            for entry in step.scheduled
            if entry.needs_sample and (matcher := self._matchers.get(entry.request_id)) is not None
        ]
        return (lambda: self._compute(sampling)) if sampling else None

    def advance(self, step: SchedulerOutput, result: RunnerOutput) -> RunnerOutput:
        """Follow the tokens of a step. Results of requests whose output is complete say so; a
        request whose grammar reached its limits fails."""
        if not self._matchers:
            return result
        for index, (entry, computed) in enumerate(zip(step.scheduled, result.results, strict=True)):
            matcher = self._matchers.get(entry.request_id)
            if matcher is not None and computed is not None:
                result.results[index] = self._follow(matcher, entry.request_id, computed)
        return result

    def _start(self, request: Request, compiled: CompiledGrammar) -> None:
        matcher = RequestMatcher(request, compiled)
        prior = request.prior_output_token_ids
        if prior and (matcher.advance(prior) or matcher.is_broken):
            end = "does not match" if matcher.is_broken else "already completes"
            raise InvalidParameterError("prior_output_token_ids", f"{end} the grammar")
        self._matchers[request.request_id] = matcher

    def _compute(self, sampling: list[tuple[str, RequestMatcher]]) -> TokenMasks:
        num_words = sampling[0][1].mask_words
        bits = np.empty((len(sampling), num_words), dtype=np.int32)
        active = [row for row, (_, each) in enumerate(sampling) if each.is_active]
        while active:
            if self._executor is None:
                self._executor = LLExecutor(NUM_MASK_THREADS)
            self._executor.unsafe_compute_mask_ptr(
                [(sampling[row][1].matcher, row) for row in active],
                bits.ctypes.data,
                num_words * 4,
                len(sampling),
            )
            active = [row for row in active if self._moved(sampling[row][1])]
        for row, (_, matcher) in enumerate(sampling):
            matcher.edit(bits[row])
        return TokenMasks([request_id for request_id, _ in sampling], bits)

    def _moved(self, matcher: RequestMatcher) -> bool:
        """Move a broken matcher to a newly compiled grammar, if it may; returns whether it did."""
        if not matcher.is_broken or matcher.num_moves == MAX_MOVES:
            return False
        try:
            matcher.move_to(self._compiler.replace(matcher.grammar, matcher.compiled))
        except Exception:
            logger.exception("The grammar of a request could not be compiled again")
            return False
        return True

    def _follow(
        self, matcher: RequestMatcher, request_id: str, computed: EntryResult
    ) -> EntryResult:
        # The mask of a matcher that failed while it was computed allows an end alone.
        is_complete = (
            not matcher.is_broken
            and isinstance(computed, SampledTokens)
            and matcher.advance(computed.token_ids)
        )
        while self._moved(matcher):
            is_complete = matcher.is_complete
        if matcher.is_broken:
            self._compiler.forget(matcher.grammar, matcher.compiled)
            logger.warning("The grammar of request %s reached a limit", request_id)
            return FailedEntry(
                RequestFailure(
                    "is too complex: it reached a limit while the output was computed. Simplify it",
                    is_invalid_request=True,
                    param=matcher.grammar.param,
                )
            )
        if isinstance(computed, SampledTokens) and is_complete:
            return SampledTokens(computed.token_ids, computed.logprobs, completes_output=True)
        return computed
