"""Random prompts of a given length, with or without a shared prefix."""

import random
from dataclasses import replace

from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.plan import plan_prompt
from headrace.bench.workloads.prompt_maker import PromptMaker

DEFAULT_NUM_PROMPTS = 100
DEFAULT_OUTPUT_LEN = 128
DEFAULT_PREFIX_LEN = 1024
"""Tokens; ``input_len`` is the length of what follows the prefix."""


def load_random_prompts(options: WorkloadOptions) -> list[PlannedRequest]:
    """Prompts share nothing but the first ``prefix_len`` tokens, if that is set."""
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


def load_shared_prefix(options: WorkloadOptions) -> list[PlannedRequest]:
    """Prompts with a shared prefix, such as a long system prompt: the case for prefix caches.

    Several prefixes are used in turn, so that none is sent twice in a row.
    """
    prefix_len = DEFAULT_PREFIX_LEN if options.prefix_len is None else options.prefix_len
    return load_random_prompts(replace(options, prefix_len=prefix_len))


def _around(length: int, ratio: float, source: random.Random) -> int:
    spread = int(length * ratio)
    return max(1, source.randint(length - spread, length + spread))
