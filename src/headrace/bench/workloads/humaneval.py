"""HumanEval's programming tasks, as its authors give them: gzipped JSONL.

Asks for the code; whether it is right is not measured.
"""

from pathlib import Path

import msgspec

from headrace.bench.records import PlannedRequest
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.plan import plan_prompt
from headrace.bench.workloads.row_selection import first_of
from headrace.bench.workloads.rows import read_json_rows

TASK = "code"
DEFAULT_OUTPUT_LEN = 256


class HumanEvalRow(msgspec.Struct):
    """What is used of a row."""

    task_id: str
    prompt: str


def load_humaneval(options: WorkloadOptions, path: Path) -> list[PlannedRequest]:
    """The first ``num_prompts`` tasks."""
    rows = [row.read_as(HumanEvalRow) for row in read_json_rows(path)]
    max_tokens = options.num_output_tokens(None, DEFAULT_OUTPUT_LEN)
    return [
        plan_prompt(options, row.prompt, max_tokens=max_tokens, task=TASK)
        for row in first_of(rows, options.num_prompts, path)
    ]
