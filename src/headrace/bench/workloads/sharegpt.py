"""ShareGPT: the first answered question of each conversation, with the length of its answer.

Turns before that question are skipped: many conversations start with an answer or a system prompt.
(``vllm bench serve`` takes the first two turns, regardless of their roles.) The format is a JSON
array of ``{"conversations": [{"from": ..., "value": ...}, ...]}``.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec

from headrace.bench.figures.token_counter import TokenCounter, load_token_counter
from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.plan import plan_prompt
from headrace.bench.workloads.row_selection import first_of
from headrace.bench.workloads.rows import Row, read_json_rows
from headrace.bench.workloads.token_estimate import num_tokens_of

_MIN_NUM_TOKENS = 4
"""Shorter questions and answers are skipped, as in ``vllm bench serve``."""
_DEFAULT_OUTPUT_LEN = 128
_BATCH_SIZE = 512
"""Conversations whose tokens are counted at a time, as most are not needed."""

ROLES = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bing": "assistant",
    "bard": "assistant",
}
"""The API's roles, by the data sets' names."""


class Turn(msgspec.Struct):
    """One message."""

    sender: str = msgspec.field(name="from")
    value: str


class Conversation(msgspec.Struct):
    """One row."""

    conversations: list[Turn]


@dataclass(frozen=True, slots=True)
class _Exchange:
    question: str
    answer: str


def load_sharegpt(options: WorkloadOptions, path: Path) -> list[PlannedRequest]:
    """A random sample of ``num_prompts``; ``max_tokens`` is the length of the data set's answer."""
    exchanges = [found for row in read_json_rows(path) if (found := _exchange_of(row)) is not None]
    shuffled = random.Random(f"sharegpt/{options.seed}").sample(exchanges, len(exchanges))
    planned = _plan(options, shuffled, load_token_counter(options.tokenizer))
    return list(first_of(planned, options.num_prompts, path))


def _exchange_of(row: Row) -> _Exchange | None:
    """The first answered question; None if there is none."""
    for question, answer in pairwise(row.read_as(Conversation).conversations):
        if ROLES.get(question.sender) == "user" and ROLES.get(answer.sender) == "assistant":
            return _Exchange(question.value, answer.value)
    return None


def _plan(
    options: WorkloadOptions, exchanges: Sequence[_Exchange], counter: TokenCounter | None
) -> list[PlannedRequest]:
    planned: list[PlannedRequest] = []
    for at in range(0, len(exchanges), _BATCH_SIZE):
        batch = exchanges[at : at + _BATCH_SIZE]
        input_lens = num_tokens_of([exchange.question for exchange in batch], counter)
        output_lens = num_tokens_of([exchange.answer for exchange in batch], counter)
        for exchange, input_len, output_len in zip(batch, input_lens, output_lens, strict=True):
            if input_len < _MIN_NUM_TOKENS:
                continue
            if options.output_len is None and output_len < _MIN_NUM_TOKENS:
                continue
            if options.max_input_len is not None and input_len > options.max_input_len:
                continue
            max_tokens = options.num_output_tokens(output_len, _DEFAULT_OUTPUT_LEN)
            planned.append(plan_prompt(options, exchange.question, max_tokens=max_tokens))
        if options.num_prompts is not None and len(planned) >= options.num_prompts:
            break
    return planned
