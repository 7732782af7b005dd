"""Prompts that begin alike, as with a long system prompt: what prefix caches are for.

Knows no file.
"""

from dataclasses import replace

from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.random_prompts import load_random_lengths

DEFAULT_PREFIX_LEN = 1024
"""Tokens; the input length is what each prompt has of its own after it."""


def load_shared_prefix(options: WorkloadOptions) -> list[PlannedRequest]:
    """Prefixes are taken in turn, so that with several of them one is not sent twice in a row."""
    prefix_len = DEFAULT_PREFIX_LEN if options.prefix_len is None else options.prefix_len
    return load_random_lengths(replace(options, prefix_len=prefix_len))
