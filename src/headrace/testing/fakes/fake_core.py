"""An engine core without torch and model, which can start in a separate process.

The scheduler, the KV cache's accounts and the messages are the real ones. How the fake behaves is
said in the model's name: ``fake?step_s=0.01&fail_at_step=3``.
"""

import time
from collections.abc import Callable
from urllib.parse import parse_qsl

import msgspec

from headrace.core.clock import MonotonicClock
from headrace.core.errors import MemoryFitError
from headrace.core.generation.pooling import PoolingSpec
from headrace.engine.config import EngineConfig
from headrace.engine.engine_core import EngineCore
from headrace.engine.grammar.token_masks import TokenMasks
from headrace.engine.messages import CoreReady
from headrace.engine.phase_timer import PhaseTimer, Report
from headrace.engine.startup import (
    StartedCore,
    build_constraints,
    build_scheduler,
)
from headrace.models.sources.files import ModelFiles
from headrace.scheduler.output import RunnerOutput, SchedulerOutput
from headrace.testing.fakes.fake_runner import FakeRunner

FACTORY = "headrace.testing.fakes.fake_core:build"


class FakeCoreOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fake's behavior, apart from its tokens."""

    vocab_size: int = 1000
    num_blocks: int = 1000
    max_position: int = 2048
    eos_token_id: int = 0
    start_s: float = 0.0
    """Duration of the start."""
    step_s: float = 0.0
    """Duration of each step."""
    fail_at_start: bool = False
    """Raise MemoryFitError in the start."""
    fail_at_step: int | None = None
    """Raise MemoryError in this step, counted from 1."""
    period: int | None = None
    """Repeat the token this number of positions before, instead of a checksum's token."""
    failing_token_id: int | None = None
    """A request that has this token fails."""
    vector_size: int = 0
    """Gives embeddings of this size in place of tokens."""
    has_prompts: bool = False
    """Its files have prompts, as those of sentence-transformers' models."""
    num_labels: int = 0
    """Classifies in place of giving tokens."""

    @property
    def pooling(self) -> PoolingSpec | None:
        """What it gives in place of tokens."""
        if self.vector_size:
            return PoolingSpec(task="embed", pooling="last", size=self.vector_size)
        if self.num_labels:
            labels = [f"LABEL_{index}" for index in range(self.num_labels)]
            return PoolingSpec("classify", "last", len(labels), labels, len(labels) == 1)
        return None


def build(config: EngineConfig, files: ModelFiles, report: Report) -> StartedCore:
    """Start a fake core as ``startup.start_core`` starts a real one."""
    options = parse_options(config.model)
    clock = MonotonicClock()
    timer = PhaseTimer(report, clock)
    with timer.phase("pretend") as progress:
        progress(1, 2)
        time.sleep(options.start_s)
        if options.fail_at_start:
            raise MemoryFitError("The weights do not fit. Take a smaller fake.")
    max_model_len = config.max_model_len or options.max_position
    core = EngineCore(
        build_scheduler(config, options.num_blocks, max_model_len),
        SlowRunner(options, config.block_size),
        frozenset({options.eos_token_id}),
        options.vocab_size,
        clock,
        build_constraints(config, files, options.vocab_size),
        options.pooling,
    )
    ready = CoreReady(
        max_model_len=max_model_len,
        num_blocks=options.num_blocks,
        block_size=config.block_size,
        settings=[("model", files.name, "a fake")],
        phases=timer.phases,
        vocab_size=options.vocab_size,
        pooling=options.pooling,
    )
    return StartedCore(core, ready)


def parse_options(model: str) -> FakeCoreOptions:
    """The options behind the question mark of a fake model's name."""
    _, _, query = model.partition("?")
    return msgspec.convert(dict(parse_qsl(query)), FakeCoreOptions, strict=False)


class SlowRunner:
    """A FakeRunner with delays and failures."""

    def __init__(self, options: FakeCoreOptions, block_size: int) -> None:
        period = options.period
        self._inner = FakeRunner(
            block_size=block_size,
            vocab_size=options.vocab_size,
            next_token=None if period is None else lambda ids: ids[-min(period, len(ids))],
            failing_token_id=options.failing_token_id,
            vector_size=options.vector_size or options.num_labels,
        )
        self._options = options
        self._num_steps = 0

    def execute(
        self, step: SchedulerOutput, masks: Callable[[], TokenMasks] | None = None
    ) -> RunnerOutput:
        self._num_steps += 1
        if self._num_steps == self._options.fail_at_step:
            raise MemoryError("the fake has no memory left")
        if step:
            time.sleep(self._options.step_s)
        return self._inner.execute(step, masks)
