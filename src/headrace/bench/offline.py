"""Throughput and latency without a server: the engine in this process, through ``LLM``.

The only module of bench that imports the engine, and only when it runs.
"""

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from headrace.bench.errors import BenchError, OptionError, attempt
from headrace.bench.figures.offline_figures import (
    EngineInfo,
    OfflineFigures,
    OfflineMode,
    offline_figures,
)
from headrace.bench.memory.memory_watch import MemoryWatch
from headrace.bench.memory.server_process_tree import ProcessTree
from headrace.bench.results.measured_run import as_bench_error

if TYPE_CHECKING:
    from headrace.engine.llm import LLM

FIRST_PLAIN_TOKEN_ID = 5
"""Lower ids are special tokens in many vocabularies."""


@dataclass(frozen=True, kw_only=True)
class OfflinePlan:
    """Batches of the same number of distinct prompts of the same length."""

    mode: OfflineMode
    num_prompts: int
    input_len: int
    output_len: int
    num_iters: int = 1
    """Measured batches."""
    num_warm_up_iters: int = 1
    """Batches before them, to compile kernels and touch memory."""
    seed: int = 0
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of EngineConfig."""


@dataclass(frozen=True)
class OfflineOutcome:
    figures: OfflineFigures
    """Over the completed batches."""
    ended_by: BenchError | None = None
    """Why it ended early; None if all batches completed."""


def run_offline(
    model: str,
    plan: OfflinePlan,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> OfflineOutcome:
    """Load the model, warm up, and time each batch from submission to its last token.

    Each batch has its own prompts, so that the prefix cache has no hits. An error ends it early,
    Ctrl-C too: the figures cover the completed batches. It is raised if none completed.
    """
    _check(plan)
    from headrace.engine.llm import LLM

    watch = MemoryWatch(ProcessTree([os.getpid()]))
    began_at = time.perf_counter()
    batches_s: list[float] = []
    """Warm-ups included."""
    causes: list[BaseException] = []
    try:
        with watch:
            llm = LLM(model, **plan.engine_options)
            _check_fits(plan, llm.ready.max_model_len)
            engine = _engine_info(llm, model)
            source = random.Random(plan.seed)
            total = plan.num_warm_up_iters + plan.num_iters
            for index in range(total):
                on_batch(index, total)
                if index == plan.num_warm_up_iters:
                    began_at = time.perf_counter()
                batches_s.append(_time_batch(llm, plan, source))
            on_batch(total, total)
    except BaseException as error:  # earlier batches are kept
        causes.append(error)
    if len(batches_s) <= plan.num_warm_up_iters:
        raise causes[0]
    figures = offline_figures(
        plan.mode,
        engine,
        num_prompts=plan.num_prompts,
        input_len=plan.input_len,
        output_len=plan.output_len,
        batches_s=batches_s[plan.num_warm_up_iters :],
        memory=attempt(partial(watch.use, began_at), causes),
    )
    return OfflineOutcome(figures, as_bench_error(causes[0]) if causes else None)


def _time_batch(llm: "LLM", plan: OfflinePlan, source: random.Random) -> float:
    from headrace.core.generation.sampling_params import SamplingParams

    prompts = [
        [
            source.randrange(FIRST_PLAIN_TOKEN_ID, llm.ready.vocab_size)
            for _ in range(plan.input_len)
        ]
        for _ in range(plan.num_prompts)
    ]
    params = SamplingParams(temperature=0.0, max_tokens=plan.output_len, ignore_eos=True)
    began_at = time.perf_counter()
    llm.generate(prompts, params, use_tqdm=False)
    return time.perf_counter() - began_at


def _engine_info(llm: "LLM", model: str) -> EngineInfo:
    settings = {name: value for name, value, _ in llm.ready.settings}
    return EngineInfo(
        model=model,
        dtype=settings.get("dtype"),
        max_model_len=llm.ready.max_model_len,
        settings=settings,
    )


def _check(plan: OfflinePlan) -> None:
    for option, value, least in (
        ("--num-prompts" if plan.mode == "throughput" else "--batch-size", plan.num_prompts, 1),
        ("--input-len", plan.input_len, 1),
        ("--output-len", plan.output_len, 1),
        ("--num-iters", plan.num_iters, 1),
        ("--num-warm-up-iters", plan.num_warm_up_iters, 0),
    ):
        if value < least:
            raise OptionError(f"{option} must be at least {least}, got {value}.")


def _check_fits(plan: OfflinePlan, max_model_len: int) -> None:
    if plan.input_len + plan.output_len > max_model_len:
        raise OptionError(
            f"--input-len {plan.input_len} plus --output-len {plan.output_len} exceeds the "
            f"context of {max_model_len} tokens."
        )
