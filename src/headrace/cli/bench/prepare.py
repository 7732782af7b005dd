"""``headrace bench prepare``: draws the prompts of the experiment's tasks into files.

Parses, calls bench.prepare and says what was written.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.bench.command import bench_command


class Task(StrEnum):
    """An enumeration, as an option that may be repeated takes no Literal."""

    CHAT = "chat"
    SUMMARIZATION = "summarization"
    QA = "qa"
    CODE = "code"


@bench_command()
def prepare(
    task: Annotated[
        list[Task] | None,
        typer.Option("--task", help="Repeat it for several; by default all four."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="The data set's own files, or a folder of them (JSONL, JSON, CSV or parquet, "
            "gzipped or not), in place of the hub.",
            show_default=False,
        ),
    ] = None,
    num_prompts: Annotated[int, typer.Option(help="Prompts of each task.")] = 100,
    seed: Annotated[int, typer.Option(help="Another seed draws others.")] = 0,
    max_prompt_len: Annotated[
        int,
        typer.Option(
            help="In characters. Longer prompts are left out, and articles are cut to it."
        ),
    ] = 3_000,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="Where TASK.jsonl is written.")
    ] = Path("prompts"),
) -> None:
    """Draw prompts: chat (OASST1), summarization (CNN/DailyMail), qa (TriviaQA), code (HumanEval).

    Each line of the files has id, task, prompt and max_tokens.
    """
    from headrace.bench.errors import OptionError
    from headrace.bench.prepare import TASK_SOURCES, prepare_prompts, write_prompts
    from headrace.bench.results.destination import check_can_hold_files

    tasks = list(dict.fromkeys(task or Task))
    if source is not None and len(tasks) > 1:
        raise OptionError("--from has the files of one task: say which with --task.")
    check_can_hold_files(output_dir)
    for name in tasks:
        if source is None:
            print(f"Drawing {name} from {TASK_SOURCES[name].repo} …", file=sys.stderr)
        prompts = prepare_prompts(
            TASK_SOURCES[name],
            num_prompts=num_prompts,
            seed=seed,
            path=source,
            max_prompt_len=max_prompt_len,
        )
        path = output_dir / f"{name}.jsonl"
        write_prompts(prompts, path)
        print(f"Wrote {len(prompts)} prompts to {path}. Use them with:")
        print(f"  headrace bench experiment --task {name} --prompts {path}")
