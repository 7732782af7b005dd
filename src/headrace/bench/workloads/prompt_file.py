"""Files of prompts, used in their order: plain lines, JSONL, or HumanEval's gzipped JSONL.

A row of JSONL has ``prompt``, ``messages`` or ``turns``, and may have ``max_tokens`` and ``task``.
HumanEval's completions are generated, not checked for correctness.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from headrace.bench.errors import OptionError
from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.conversations import read_dialogue
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.plan import plan_prompt, plan_turns
from headrace.bench.workloads.row_selection import first_of
from headrace.bench.workloads.rows import (
    NumTokens,
    Row,
    open_text,
    read_json_rows,
    read_lines,
)

DEFAULT_OUTPUT_LEN = 128
HUMANEVAL_OUTPUT_LEN = 256


TokenId = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class _PromptRow(msgspec.Struct):
    prompt: str | tuple[TokenId, ...]
    max_tokens: NumTokens | None = None
    task: str | None = None


class _HumanEvalRow(msgspec.Struct):
    task_id: str
    prompt: str


def load_prompts(options: WorkloadOptions, path: Path) -> list[PlannedRequest]:
    """The first ``num_prompts`` rows of the file."""
    rows = list(read_json_rows(path) if _is_json(path) else read_lines(path))
    planned: list[PlannedRequest] = []
    for row in first_of(rows, options.num_prompts, path):
        planned += _plan_row(options, row, len(planned))
    return planned


def load_humaneval(options: WorkloadOptions, path: Path) -> list[PlannedRequest]:
    """The first ``num_prompts`` problems of HumanEval (Chen et al., 2021)."""
    rows = [row.read_as(_HumanEvalRow) for row in read_json_rows(path)]
    max_tokens = options.num_output_tokens(None, HUMANEVAL_OUTPUT_LEN)
    return [
        plan_prompt(options, row.prompt, max_tokens=max_tokens, task="code")
        for row in first_of(rows, options.num_prompts, path)
    ]


def repeat_prompt(options: WorkloadOptions, prompt: str) -> list[PlannedRequest]:
    """One prompt ``num_prompts`` times, as ``hey`` sends it. A prefix cache computes it once."""
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise OptionError("--prompt is not valid UTF-8.") from None
    max_tokens = options.num_output_tokens(None, DEFAULT_OUTPUT_LEN)
    return [plan_prompt(options, prompt, max_tokens=max_tokens)] * (options.num_prompts or 1)


def _plan_row(options: WorkloadOptions, row: Row, first_index: int) -> list[PlannedRequest]:
    if isinstance(row.value, str):
        max_tokens = options.num_output_tokens(None, DEFAULT_OUTPUT_LEN)
        return [plan_prompt(options, row.value, max_tokens=max_tokens)]
    if not isinstance(row.value, dict):
        raise row.error("A row must be an object with prompt, messages or turns.")
    if "prompt" in row.value:
        fields = row.read_as(_PromptRow)
        if options.is_chat and not isinstance(fields.prompt, str):
            raise row.error("The chat endpoint accepts no token ids; use --endpoint completions.")
        max_tokens = options.num_output_tokens(fields.max_tokens, DEFAULT_OUTPUT_LEN)
        return [plan_prompt(options, fields.prompt, max_tokens=max_tokens, task=fields.task)]
    if "messages" not in row.value and "turns" not in row.value:
        raise row.error("The row has none of prompt, messages and turns.")
    dialogue = read_dialogue(row)
    if not dialogue.turns:
        raise row.error("The row has no user message.")
    max_tokens = options.num_output_tokens(dialogue.max_tokens, DEFAULT_OUTPUT_LEN)
    return plan_turns(
        options,
        dialogue.turns,
        first_index=first_index,
        max_tokens=[max_tokens] * len(dialogue.turns),
        task=dialogue.task,
    )


def _is_json(path: Path) -> bool:
    """By its name, or by its first character."""
    if ".jsonl" in path.suffixes or ".json" in path.suffixes:
        return True
    with open_text(path) as file:
        return file.read(4096).lstrip().startswith("{")
