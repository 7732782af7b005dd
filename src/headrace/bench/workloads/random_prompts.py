"""Prompts drawn at random, of a given length or of lengths around it. Knows no file."""

import random

from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.plan import plan_prompt
from headrace.bench.workloads.prompt_maker import PromptMaker

DEFAULT_NUM_PROMPTS = 100
DEFAULT_OUTPUT_LEN = 128


def load_random_lengths(options: WorkloadOptions) -> list[PlannedRequest]:
    """Each prompt shares nothing with another, except ``prefix_len`` tokens if asked for."""
    source = random.Random(f"random/{options.seed}")
    maker = PromptMaker(options)
    prefix_len = options.prefix_len or 0
    prefixes = [maker.draw(prefix_len, source) for _ in range(options.num_prefixes)]
    planned = []
    for index in range(options.num_prompts or DEFAULT_NUM_PROMPTS):
        input_len = _around(options.input_len, options.range_ratio, source)
        output_len = options.num_output_tokens(None, DEFAULT_OUTPUT_LEN)
        pieces = [prefixes[index % len(prefixes)], maker.draw(input_len, source)]
        planned.append(
            plan_prompt(
                options,
                maker.join(pieces),
                max_tokens=_around(output_len, options.range_ratio, source),
                ignore_eos=True,
            )
        )
    return planned


def _around(length: int, ratio: float, source: random.Random) -> int:
    spread = int(length * ratio)
    return max(1, source.randint(length - spread, length + spread))
