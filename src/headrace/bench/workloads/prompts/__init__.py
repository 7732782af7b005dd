"""The built-in prompts of the experiment's four tasks, twenty each, written for Headrace."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The built-in prompts of one task."""

    task: str
    endpoint: str
    """The API endpoint that suits the task. Code is completed from the head of a function, as in
    HumanEval; the other tasks are chats."""

    @contextmanager
    def file(self) -> Iterator[Path]:
        """The prompts as a JSONL file, which exists as long as the block lasts."""
        with as_file(files(__name__) / f"{self.task}.jsonl") as path:
            yield path


PROMPT_SETS = {
    prompt_set.task: prompt_set
    for prompt_set in (
        PromptSet("chat", "chat"),
        PromptSet("summarization", "chat"),
        PromptSet("qa", "chat"),
        PromptSet("code", "completions"),
    )
}
"""By task."""
