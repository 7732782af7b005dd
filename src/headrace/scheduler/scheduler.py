"""Decides what each step computes, and records what it computed.

Reads no clock: ``now`` is an argument. Iteration-level scheduling as in Orca (Yu et al., 2022),
chunked prefill as in Sarathi-Serve (Agrawal et al., 2024, arXiv:2403.02310).
"""

from headrace.core.errors import InvalidParameterError
from headrace.core.generation.outputs import FinishReason
from headrace.core.generation.request import Request, RequestStatus
from headrace.core.generation.stats import EngineStats
from headrace.kvcache.block_table import BlockTable
from headrace.kvcache.manager import CachedPrefix, KVCacheManager
from headrace.scheduler.config import SchedulerConfig
from headrace.scheduler.output import (
    AdmittedRequest,
    EntryResult,
    FailedEntry,
    PooledVector,
    RunnerOutput,
    ScheduledRequest,
    SchedulerOutput,
    TokenUpdate,
)
from headrace.scheduler.queue import create_queue
from headrace.scheduler.step_plan import StepPlan

__all__ = ["Scheduler", "SchedulerConfig"]


class Scheduler:
    """Owns every request from ``add`` until it is finished or aborted.

    Each ``schedule`` is followed by the ``update`` of its step before the next one. In between,
    while the step is computed, ``plan_ahead`` can take over most of the work of the next
    ``schedule``, and requests can be added and aborted.
    """

    def __init__(self, config: SchedulerConfig, kv_cache: KVCacheManager) -> None:
        num_needed = kv_cache.num_blocks_for(config.max_model_len)
        if kv_cache.num_blocks < num_needed:
            raise ValueError(
                f"The KV cache has {kv_cache.num_blocks} blocks of {kv_cache.block_size} tokens, "
                f"but a request of {config.max_model_len} tokens needs {num_needed}. Give the "
                "cache more blocks or lower max_model_len."
            )
        self._config = config
        self._kv_cache = kv_cache
        self._requests: dict[str, Request] = {}
        """All waiting and running requests, by id."""
        self._waiting = create_queue(config.policy)
        self._running: dict[Request, BlockTable] = {}
        """Oldest first, in the order in which they were admitted."""
        self._released: list[str] = []
        self._planned_ahead: StepPlan | None = None
        self._num_preemptions = 0

    @property
    def has_requests(self) -> bool:
        """Whether any request is unfinished; if so, ``schedule`` always finds work."""
        return bool(self._requests)

    @property
    def max_model_len(self) -> int:
        """Longest prompt and output of one request, in tokens."""
        return self._config.max_model_len

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def add(self, request: Request, now: float) -> None:
        """Queue a new request, which must fit into ``max_model_len`` with its whole output.

        Raises InvalidParameterError if an unfinished request has its id.
        """
        if request.request_id in self._requests:
            raise InvalidParameterError(
                "request_id", f"{request.request_id!r} is in use by an unfinished request"
            )
        request.queued_time = now
        request.status = RequestStatus.WAITING
        self._requests[request.request_id] = request
        self._waiting.append(request)

    def abort(self, request_ids: list[str]) -> list[Request]:
        """Free these requests and their blocks at once; returns those that were unfinished.

        Safe at any time: ``update`` drops what a step in flight computes for them.
        """
        aborted = []
        for request_id in request_ids:
            request = self._requests.get(request_id)
            if request is None:
                continue
            if request not in self._running:
                self._waiting.remove(request)
            request.finish_reason = FinishReason.ABORT
            self._free(request)
            aborted.append(request)
        return aborted

    def schedule(self, now: float) -> SchedulerOutput:
        """Decide the next step.

        There is no prefill phase and no decode phase. Each request's ``num_computed_tokens``
        catches up with its ``num_tokens``, which grows when it has caught up. A step gives the
        token budget first to running requests, oldest first, then to waiting ones, in the order of
        the queue. A long prompt takes the rest of the budget, step after step. So a decode is a
        request that lacks one token, a preempted request is a long prompt, and a request with a
        cached prefix is a short one.
        """
        plan = self._complete_plan()
        self._schedule_running(plan)
        self._schedule_waiting(plan, now)
        released, self._released = self._released, []
        return SchedulerOutput(plan.in_order(), plan.admitted, released)

    def plan_ahead(self, step: SchedulerOutput) -> None:
        """While ``step`` is computed: plan the entries that running requests have in the next one.

        It assumes that each entry with ``needs_sample`` gives one token. The next ``schedule``
        corrects what differs: requests that ended, or have more tokens or none. Nothing is
        preempted or admitted here. So a step differs from one that was not planned ahead only in
        how its budget is divided among chunks of prompts.
        """
        plan = StepPlan(self._config.max_num_batched_tokens)
        computing = {entry.request_id: entry for entry in step.scheduled}
        for request, table in self._running.items():
            start, num_known = request.num_computed_tokens, request.num_tokens
            entry = computing.get(request.request_id)
            if entry is not None:
                start = entry.start + entry.num_tokens
                if entry.needs_sample:
                    num_known += 1
                    if request.num_output_tokens + 1 >= request.max_output_tokens:
                        continue  # the step computes its last token
            num_tokens = min(num_known - start, plan.budget)
            end = start + num_tokens
            if end > table.num_slots and not self._kv_cache.extend(table, end):
                break
            plan.add(request, table, start, num_tokens, needs_sample=end == num_known)
            if plan.budget == 0:
                break
        self._planned_ahead = plan

    def update(self, step: SchedulerOutput, result: RunnerOutput, now: float) -> list[TokenUpdate]:
        """Record a computed step: commit full blocks, append the sampled tokens, free the requests
        that finished or failed.

        Results of requests that were aborted while the step was computed are dropped.
        """
        updates = []
        if result.prompt_logprobs:
            self._take_prompt_logprobs(result)
        for entry, computed in zip(step.scheduled, result.results, strict=True):
            request = self._requests.get(entry.request_id)
            table = None if request is None else self._running.get(request)
            if request is None or table is None:
                continue
            end = request.num_computed_tokens = entry.start + entry.num_tokens
            if end // table.block_size > entry.start // table.block_size:
                self._kv_cache.commit(request, table, end)
            if computed is not None:
                update = self._record_result(request, computed, now)
                if update is not None:
                    updates.append(update)
        return updates

    def reset_prefix_cache(self) -> None:
        """Empty the prefix cache; requests in progress keep their blocks. Not between a
        ``schedule`` and its ``update``."""
        self._kv_cache.reset_prefix_cache()

    def stats(self, num_scheduled_tokens: int) -> EngineStats:
        """Current statistics, after a step of ``num_scheduled_tokens``."""
        return EngineStats(
            num_running=len(self._running),
            num_waiting=len(self._waiting),
            num_blocks=self._kv_cache.num_blocks,
            num_used_blocks=self._kv_cache.num_used_blocks,
            prefix_cache_queries_total=self._kv_cache.num_queried_tokens,
            prefix_cache_hits_total=self._kv_cache.num_hit_tokens,
            num_preemptions_total=self._num_preemptions,
            num_scheduled_tokens=num_scheduled_tokens,
        )

    def _complete_plan(self) -> StepPlan:
        """The plan that was made ahead, with the tokens that its step drew."""
        plan, self._planned_ahead = self._planned_ahead, None
        if plan is None:
            return StepPlan(self._config.max_num_batched_tokens)
        for request, entry in list(plan.entries.items()):
            table = self._running.get(request)
            end = entry.start + entry.num_tokens
            is_right = (
                entry.start == request.num_computed_tokens
                and end <= request.num_tokens
                and entry.needs_sample == (end == request.num_tokens)
            )
            if table is not None and is_right:
                self._send_tokens(plan, request, table, entry)
            else:
                plan.drop(request, table)
        return plan

    def _schedule_running(self, plan: StepPlan) -> None:
        for request, table in list(self._running.items()):
            if plan.budget == 0:
                return
            if request.status is not RequestStatus.RUNNING or request in plan.entries:
                continue  # preempted in this step, or planned ahead
            start = request.num_computed_tokens
            num_tokens = min(request.num_tokens - start, plan.budget)
            end = start + num_tokens
            if end > table.num_slots and not self._make_room(plan, request, table, end):
                continue
            self._plan_entry(plan, request, table, start, num_tokens)

    def _schedule_waiting(self, plan: StepPlan, now: float) -> None:
        """Admit from the queue while the budget, ``max_num_seqs`` and the free blocks allow it.

        A request is held back while another one computes its next block: a step later it finds
        that block in the cache, so many requests with one long prefix compute it once. Only blocks
        of this step's plan hold it back, and those are committed or dropped at the end of the
        step, so it never waits longer than the computation takes that it saves. Requests behind it
        may be admitted, but its place under ``max_num_seqs`` is reserved.
        """
        held_back: list[Request] = []
        max_num_seqs = self._config.max_num_seqs
        while plan.budget and len(self._running) + len(held_back) < max_num_seqs:
            request = self._waiting.first()
            if request is None:
                break
            if request.adapter_id and not self._has_place_for(request.adapter_id):
                break
            prefix = self._kv_cache.find_cached(request)
            if prefix.next_hash in plan.completed_blocks:
                self._waiting.remove(request)
                held_back.append(request)
                continue
            # One spare block for each running request, so that the new one is not preempted at
            # once. A request preempted in this step needs at least what it lost: it stops here.
            if not self._kv_cache.can_admit(request, prefix, len(self._running)):
                break
            self._waiting.remove(request)
            self._admit(plan, request, prefix, now)
        for request in reversed(held_back):
            self._waiting.push_front(request)

    def _has_place_for(self, adapter_id: int) -> bool:
        """Whether a request with this adapter may run beside those that do. Requests behind one
        that may not wait too, so that it runs as soon as another adapter's last request ends."""
        running = {request.adapter_id for request in self._running} - {0}
        return adapter_id in running or len(running) < self._config.max_adapters

    def _admit(self, plan: StepPlan, request: Request, prefix: CachedPrefix, now: float) -> None:
        start = prefix.num_tokens
        num_tokens = min(request.num_tokens - start, plan.budget)
        table = self._kv_cache.admit(request, prefix, num_tokens)
        self._running[request] = table
        request.status = RequestStatus.RUNNING
        request.num_computed_tokens = start
        if request.scheduled_time is None:
            request.scheduled_time = now
            request.num_cached_tokens = start
        plan.admitted.append(
            AdmittedRequest(
                request_id=request.request_id,
                prompt_token_ids=request.prompt_token_ids,
                output_token_ids=request.token_ids[request.num_prompt_tokens :],
                params=request.params,
                seed=request.seed,
                choice=request.choice,
                eos_token_ids=request.eos_token_ids,
                num_prompt_logprobs=(
                    request.num_prompt_logprobs if request.lacks_prompt_logprobs else None
                ),
                pooling=request.pooling,
                adapter_id=request.adapter_id,
            )
        )
        request.num_sent_tokens = request.num_tokens
        self._plan_entry(plan, request, table, start, num_tokens)

    def _plan_entry(
        self, plan: StepPlan, request: Request, table: BlockTable, start: int, num_tokens: int
    ) -> None:
        needs_sample = start + num_tokens == request.num_tokens
        entry = plan.add(request, table, start, num_tokens, needs_sample=needs_sample)
        self._send_tokens(plan, request, table, entry)

    def _send_tokens(
        self, plan: StepPlan, request: Request, table: BlockTable, entry: ScheduledRequest
    ) -> None:
        """Complete an entry: with the tokens that the runner does not have yet, and with the blocks
        that it completes."""
        entry.new_token_ids.extend(request.token_ids[request.num_sent_tokens :])
        request.num_sent_tokens = request.num_tokens
        start, end = entry.start, entry.start + entry.num_tokens
        if end // table.block_size > start // table.block_size:
            plan.completed_blocks.update(self._kv_cache.hashes_within(request, table, start, end))

    def _take_prompt_logprobs(self, result: RunnerOutput) -> None:
        """Count them, and drop those of requests that were aborted."""
        kept = {}
        for request_id, entries in result.prompt_logprobs.items():
            request = self._requests.get(request_id)
            if request is not None and request in self._running:
                request.num_prompt_logprobs += len(entries)
                kept[request_id] = entries
        result.prompt_logprobs = kept

    def _record_result(
        self, request: Request, computed: EntryResult, now: float
    ) -> TokenUpdate | None:
        """The update for one entry's result; None if it adds no token."""
        if isinstance(computed, FailedEntry):
            request.fail(computed.failure)
            self._free(request)
            return TokenUpdate(request, [], None)
        if isinstance(computed, PooledVector):
            request.pool(computed.values)
            request.first_token_time = request.last_token_time = now
            self._free(request)
            return TokenUpdate(request, [], None)
        num_appended = 0
        for token_id in computed.token_ids:
            num_appended += 1
            if request.append_token(token_id) is not None:
                break
        if computed.completes_output and num_appended == len(computed.token_ids):
            request.complete()
        if request.finished:
            self._free(request)
        if num_appended == 0:
            return None
        if request.first_token_time is None:
            request.first_token_time = now
        request.last_token_time = now
        token_ids, logprobs = computed.token_ids, computed.logprobs
        if num_appended < len(token_ids):
            token_ids = token_ids[:num_appended]
            logprobs = None if logprobs is None else logprobs[:num_appended]
        return TokenUpdate(request, token_ids, logprobs)

    def _make_room(
        self, plan: StepPlan, request: Request, table: BlockTable, num_tokens: int
    ) -> bool:
        """Extend a table; preempts the youngest requests if blocks run out, or with the policy
        "priority" the youngest of those with the highest value.

        Returns False if the request itself was preempted. The one that would be preempted last
        always succeeds, because the pool holds any single request: so all finish.
        """
        while not self._kv_cache.extend(table, num_tokens):
            victim = next(reversed(self._running))
            if self._config.policy == "priority":
                victim = max(
                    reversed(self._running), key=lambda each: (each.priority, each.arrival_time)
                )
            del self._running[victim]
            plan.drop(victim, None)
            self._preempt(victim)
            if victim is request:
                return False
        return True

    def _preempt(self, request: Request) -> None:
        """Free a request's blocks and queue it to compute its prompt and output again."""
        self._kv_cache.free(request)
        request.status = RequestStatus.PREEMPTED
        request.num_computed_tokens = 0
        request.num_preemptions += 1
        self._num_preemptions += 1
        self._waiting.push_front(request)
        self._released.append(request.request_id)

    def _free(self, request: Request) -> None:
        """Remove a finished request, running or waiting, and free its blocks."""
        self._kv_cache.remove(request)
        self._running.pop(request, None)
        del self._requests[request.request_id]
        request.status = RequestStatus.FINISHED
        self._released.append(request.request_id)
