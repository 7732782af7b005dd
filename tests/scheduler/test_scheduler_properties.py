"""With any arrivals and aborts, in pools of any size: limits hold, and every request ends with the
tokens that it would have had alone."""

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.generation.outputs import FinishReason
from headrace.core.generation.request import Request, RequestStatus
from headrace.core.generation.sampling_params import SamplingParams
from headrace.kvcache.block_table import NULL_BLOCK_ID
from headrace.kvcache.manager import KVCacheManager
from headrace.kvcache.sliding_window import SlidingWindow, num_request_blocks
from headrace.scheduler.output import SchedulerOutput
from headrace.scheduler.queue import SchedulingPolicy
from headrace.scheduler.scheduler import Scheduler, SchedulerConfig
from headrace.testing.fakes.fake_runner import FakeRunner

VOCAB_SIZE = 7
EOS = 3
PREFIXES: tuple[list[int], ...] = ([], [1] * 9, [1] * 9 + [2] * 8, [4, 5, 6] * 5)


@dataclass(frozen=True)
class Arrival:
    """A request, its arrival and, if it is aborted, its abort."""

    step: int
    prompt: list[int]
    max_tokens: int
    ignore_eos: bool
    salt: str
    aborted_after: int | None
    """Steps after its arrival."""
    aborted_in_flight: bool
    """Whether that is between schedule and update."""
    priority: int = 0
    wants_prompt_logprobs: bool = False


@dataclass(frozen=True)
class Limits:
    block_size: int
    num_spare_blocks: int
    """More than one request of full length needs."""
    max_num_seqs: int
    max_num_batched_tokens: int
    enable_prefix_caching: bool
    policy: SchedulingPolicy = "fcfs"
    window: int | None = None
    """The sliding window of all layers."""


PROMPTS = st.builds(
    lambda prefix, rest: [*prefix, *rest],
    st.sampled_from(PREFIXES),
    st.lists(st.integers(0, VOCAB_SIZE - 1), min_size=1, max_size=12),
)
ARRIVALS = st.builds(
    Arrival,
    step=st.integers(0, 12),
    prompt=PROMPTS,
    max_tokens=st.integers(1, 15),
    ignore_eos=st.booleans(),
    salt=st.sampled_from(["", "", "", "salt"]),
    aborted_after=st.none() | st.integers(0, 10),
    aborted_in_flight=st.booleans(),
    priority=st.integers(-1, 1),
    wants_prompt_logprobs=st.booleans(),
)
LIMITS = st.builds(
    Limits,
    block_size=st.sampled_from([1, 2, 4, 8]),
    num_spare_blocks=st.integers(0, 12),
    max_num_seqs=st.integers(1, 6),
    max_num_batched_tokens=st.integers(1, 48),
    enable_prefix_caching=st.booleans(),
    policy=st.sampled_from(["fcfs", "priority"]),
    window=st.none() | st.integers(1, 24),
)


@dataclass
class Tracked:
    """One request of a simulation, with the state that the test expects."""

    request: Request
    arrival: Arrival
    token_ids: list[int] = field(default_factory=list)
    """As the updates returned them."""
    computed: int = 0
    """Where its next entry must start, unless it was released meanwhile."""
    sent_token_ids: list[int] = field(default_factory=list)
    """Prompt and output, from the steps' data since it last started or resumed."""
    block_ids: list[int] = field(default_factory=list)
    prompt_logprobs: list[int] = field(default_factory=list)
    """The tokens that got log-probabilities."""


class Simulation:
    """Steps a scheduler and a fake runner, and checks every step."""

    MAX_MODEL_LEN = 48

    def __init__(
        self, limits: Limits, plans_ahead: list[bool], resets: Collection[int] = ()
    ) -> None:
        """resets: the steps before which the prefix cache is emptied."""
        self.plans_ahead = plans_ahead
        self.resets = resets
        window = None
        if limits.window is not None:
            window = SlidingWindow(
                size=limits.window, max_num_batched_tokens=limits.max_num_batched_tokens
            )
        self.request_blocks = num_request_blocks(self.MAX_MODEL_LEN, limits.block_size, window)
        self.limits = limits
        self.kv_cache = KVCacheManager(
            num_blocks=self.request_blocks + limits.num_spare_blocks,
            block_size=limits.block_size,
            enable_prefix_caching=limits.enable_prefix_caching,
            window=window,
        )
        self.scheduler = Scheduler(
            SchedulerConfig(
                max_num_seqs=limits.max_num_seqs,
                max_num_batched_tokens=limits.max_num_batched_tokens,
                max_model_len=self.MAX_MODEL_LEN,
                policy=limits.policy,
            ),
            self.kv_cache,
        )
        self.runner = FakeRunner(
            block_size=limits.block_size, vocab_size=VOCAB_SIZE, window=limits.window
        )
        self.tracked: dict[str, Tracked] = {}
        self.released: set[str] = set()

    def run(self, arrivals: list[Arrival]) -> None:
        number = 0
        while number <= max(arrival.step for arrival in arrivals) or self.scheduler.has_requests:
            for index, arrival in enumerate(arrivals):
                if arrival.step == number:
                    self.add(f"r{index}", arrival)
            self.abort(number, in_flight=False)
            if number in self.resets:
                self.scheduler.reset_prefix_cache()
                self.kv_cache.check_integrity()
            had_requests = self.scheduler.has_requests
            step = self.scheduler.schedule(float(number))
            assert bool(step) == had_requests  # unfinished requests progress
            self.check_step(step)
            if number % 2:
                self.abort(number, in_flight=True)
            if self.plans_ahead[number % len(self.plans_ahead)]:
                self.scheduler.plan_ahead(step)
                self.kv_cache.check_integrity()
            if number % 2 == 0:
                self.abort(number, in_flight=True)
            self.update(step)
            self.kv_cache.check_integrity()
            num_held = self.kv_cache.num_used_blocks
            num_ahead = -(-self.limits.max_num_batched_tokens // self.limits.block_size)
            assert num_held <= self.scheduler.num_running * (self.request_blocks + num_ahead)
            number += 1
            assert number < 5000

    def add(self, request_id: str, arrival: Arrival) -> None:
        request = Request(
            request_id,
            arrival.prompt,
            SamplingParams(
                ignore_eos=arrival.ignore_eos,
                prompt_logprobs=0 if arrival.wants_prompt_logprobs else None,
            ),
            arrival.max_tokens,
            0.0,
            eos_token_ids=frozenset({EOS}),
            priority=arrival.priority,
            cache_salt=arrival.salt,
        )
        self.tracked[request_id] = Tracked(request, arrival)
        self.scheduler.add(request, 0.0)

    def abort(self, number: int, *, in_flight: bool) -> None:
        leaving = [
            tracked.request
            for tracked in self.tracked.values()
            if tracked.arrival.aborted_in_flight == in_flight
            and tracked.arrival.aborted_after is not None
            and tracked.arrival.step + tracked.arrival.aborted_after == number
        ]
        known = [request for request in leaving if not request.finished]
        assert self.scheduler.abort([request.request_id for request in leaving]) == known

    def check_step(self, step: SchedulerOutput) -> None:
        assert step.num_tokens <= self.limits.max_num_batched_tokens
        assert len(step.scheduled) <= self.limits.max_num_seqs
        assert self.scheduler.num_running <= self.limits.max_num_seqs
        assert len({entry.request_id for entry in step.scheduled}) == len(step.scheduled)
        kinds = [entry.num_tokens == 1 and entry.needs_sample for entry in step.scheduled]
        assert kinds == sorted(kinds, reverse=True)

        for request_id in step.released:
            self.tracked[request_id].computed = 0
            self.tracked[request_id].block_ids = []
        for admitted in step.admitted:
            tracked = self.tracked[admitted.request_id]
            tracked.sent_token_ids = [*admitted.prompt_token_ids, *admitted.output_token_ids]
            assert admitted.prompt_token_ids == tracked.arrival.prompt
        starting = {admitted.request_id for admitted in step.admitted}
        contents: dict[int, tuple[str, list[int]]] = {}
        for entry in step.scheduled:
            tracked = self.tracked[entry.request_id]
            request = tracked.request
            assert request.status is RequestStatus.RUNNING
            tracked.block_ids += entry.new_block_ids
            tracked.sent_token_ids += entry.new_token_ids
            assert tracked.sent_token_ids == request.token_ids
            if tracked.computed:
                assert entry.start == tracked.computed
                assert entry.request_id not in starting
            else:  # it starts or resumes, and only full blocks can have been cached
                assert entry.start % self.limits.block_size == 0
                assert entry.request_id in starting
                assert entry.new_block_ids == tracked.block_ids
            assert entry.start < entry.start + entry.num_tokens <= request.num_tokens
            end = tracked.computed = entry.start + entry.num_tokens
            assert entry.needs_sample == (end == request.num_tokens)
            lowest = max(0, entry.start + 1 - (self.limits.window or self.MAX_MODEL_LEN))
            first_read = lowest // self.limits.block_size
            for index, block_id in enumerate(tracked.block_ids[first_read:], first_read):
                assert block_id != NULL_BLOCK_ID
                end = (index + 1) * self.limits.block_size
                content = (request.cache_salt, request.token_ids[:end])
                if block_id in contents:
                    assert len(content[1]) == end, "a block that is not full is shared"
                    assert end <= entry.start, "a block is shared that is still computed"
                    assert contents[block_id] == content
                contents[block_id] = content

    def update(self, step: SchedulerOutput) -> None:
        result = self.runner.execute(step)
        updates = self.scheduler.update(step, result, 0.0)
        for request_id, entries in result.prompt_logprobs.items():
            tracked = self.tracked[request_id]
            assert not tracked.token_ids  # all of them come before the first token
            tracked.prompt_logprobs += [entry.token_id for entry in entries]
        for update in updates:
            assert update.request.finish_reason is not FinishReason.ABORT
            self.tracked[update.request.request_id].token_ids.extend(update.token_ids)

    def reference(self, arrival: Arrival) -> list[int]:
        token_ids = self.runner.reference(arrival.prompt, arrival.max_tokens)
        if not arrival.ignore_eos and EOS in token_ids:
            token_ids = token_ids[: token_ids.index(EOS) + 1]
        return token_ids


@settings(max_examples=400, deadline=None)
@given(
    LIMITS,
    st.lists(ARRIVALS, min_size=1, max_size=10),
    st.sampled_from([[False], [True], [True, False], [True, True, False]]),
    st.sets(st.integers(0, 25), max_size=3),
)
def test_scheduling_does_not_change_any_output(
    limits: Limits, arrivals: list[Arrival], plans_ahead: list[bool], resets: set[int]
) -> None:
    simulation = Simulation(limits, plans_ahead, resets)
    simulation.run(arrivals)

    for tracked in simulation.tracked.values():
        request = tracked.request
        expected = simulation.reference(tracked.arrival)
        assert request.status is RequestStatus.FINISHED
        assert request.token_ids == tracked.arrival.prompt + tracked.token_ids
        scored = tracked.arrival.prompt[1:] if tracked.arrival.wants_prompt_logprobs else []
        if tracked.token_ids:
            assert tracked.prompt_logprobs == scored
        else:  # aborted early
            assert tracked.prompt_logprobs == scored[: len(tracked.prompt_logprobs)]
        if request.finish_reason is FinishReason.ABORT:
            assert tracked.token_ids == expected[: len(tracked.token_ids)]
        else:
            assert tracked.token_ids == expected
            ended_by_eos = expected[-1] == EOS and not tracked.arrival.ignore_eos
            assert request.finish_reason is (
                FinishReason.STOP if ended_by_eos else FinishReason.LENGTH
            )
    assert simulation.kv_cache.num_used_blocks == 0
    assert simulation.kv_cache.num_known_requests == 0
    assert simulation.kv_cache.num_free_blocks == simulation.kv_cache.num_blocks
    assert simulation.scheduler.num_running == simulation.scheduler.num_waiting == 0


@pytest.mark.parametrize("window", [None, 9])
@pytest.mark.parametrize("plans_ahead", [False, True])
def test_the_simulation_includes_preemption_and_sharing(
    plans_ahead: bool, window: int | None
) -> None:
    """The property above requires short pools and shared prefixes."""
    limits = Limits(4, 2, 6, 32, True, window=window)
    simulation = Simulation(limits, [plans_ahead])
    simulation.run([Arrival(0, [*PREFIXES[2], n], 15, True, "", None, False) for n in range(6)])
    simulation.run([Arrival(0, [n] * 20, 15, True, "", None, False) for n in range(6)])
    stats = simulation.scheduler.stats(0)
    assert stats.num_preemptions_total > 0
    assert stats.prefix_cache_hits_total > 0
