"""The four tasks of an experiment: which endpoint suits each, and a small set of prompts.

The prompts, twenty a task, are our own and come with the package; knows no data set of others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

ENDPOINT_OF_TASK = {
    "chat": "chat",
    "summarization": "chat",
    "qa": "chat",
    "code": "completions",
}
"""Code is the continuation of a function's head, as HumanEval has it; the others are asked."""

TASKS = tuple(ENDPOINT_OF_TASK)


@contextmanager
def builtin_prompts(task: str) -> Iterator[Path]:
    """The task's own file of prompts (JSONL), for as long as the block lasts."""
    with as_file(files(__name__) / f"{task}.jsonl") as path:
        yield path
