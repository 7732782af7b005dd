"""``headrace bench prepare``: writes files of prompts for the experiment's tasks."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.bench.command import bench_command
from headrace.cli.bench.options import MAX_REQUESTS, MAX_SEED
from headrace.core.options import Bounds


class Task(StrEnum):
    """An enumeration, as Typer accepts no Literal in a list."""

    CHAT = "chat"
    SUMMARIZATION = "summarization"
    QA = "qa"
    CODE = "code"


@bench_command
def prepare(
    task: Annotated[
        list[Task] | None,
        typer.Option("--task", help="Task; repeat the option for several. All four by default."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Local file or folder of the data set (JSONL, JSON, CSV or parquet, optionally "
            "gzipped), instead of the Hugging Face hub.",
            show_default=False,
        ),
    ] = None,
    num_prompts: Annotated[
        int, typer.Option(help="Prompts per task."), Bounds(ge=1, le=MAX_REQUESTS)
    ] = 100,
    seed: Annotated[int, typer.Option(help="Random seed."), Bounds(ge=0, le=MAX_SEED)] = 0,
    max_prompt_len: Annotated[
        int,
        typer.Option(
            help="Maximum length in characters; longer prompts are skipped, articles truncated."
        ),
        Bounds(ge=200, le=10_000_000),
    ] = 3_000,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="Folder for the TASK.jsonl files.")
    ] = Path("prompts"),
) -> None:
    """Sample prompts of public data sets: OASST1, CNN/DailyMail, TriviaQA, HumanEval.

    Each line of the files has id, task, prompt and max_tokens.
    """
    from headrace.bench.errors import OptionError
    from headrace.bench.prepare import PROMPT_SOURCES, prepare_prompts, write_prompts
    from headrace.bench.results.destination import check_can_hold_files

    tasks = list(dict.fromkeys(task or Task))
    if source is not None and len(tasks) > 1:
        raise OptionError("--from applies to one task: choose it with --task.")
    check_can_hold_files(output_dir)
    for name in tasks:
        if source is None:
            print(f"Sampling {name} from {PROMPT_SOURCES[name].repo} …", file=sys.stderr)
        prompts = prepare_prompts(
            PROMPT_SOURCES[name],
            num_prompts=num_prompts,
            seed=seed,
            path=source,
            max_prompt_len=max_prompt_len,
        )
        path = output_dir / f"{name}.jsonl"
        write_prompts(prompts, path)
        print(f"Wrote {len(prompts)} prompts to {path}. Use them with:")
        print(f"  headrace bench experiment --task {name} --prompts {path}")
