"""The package's prompts match their documentation."""

import json

import pytest

from headrace.bench.workloads.factory import load_workload
from headrace.bench.workloads.options import WorkloadOptions
from headrace.bench.workloads.prompts import PROMPT_SETS


@pytest.mark.parametrize("task", PROMPT_SETS)
def test_each_task_has_twenty_different_prompts(task: str) -> None:
    with PROMPT_SETS[task].file() as path:
        options = WorkloadOptions(dataset="prompts", path=path, endpoint=PROMPT_SETS[task].endpoint)
        planned = load_workload(options)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["prompt"] for row in rows}) == len(planned) == 20
    assert {each.task for each in planned} == {task}
    assert {each.max_tokens for each in planned} == {32 if task == "qa" else 128}


def test_texts_to_summarize_have_a_minimum_length() -> None:
    with PROMPT_SETS["summarization"].file() as path:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(200 <= len(row["prompt"].split()) <= 500 for row in rows)


def test_code_prompts_are_the_heads_of_functions() -> None:
    with PROMPT_SETS["code"].file() as path:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        compile(row["prompt"] + "    pass\n", "prompt", "exec")
