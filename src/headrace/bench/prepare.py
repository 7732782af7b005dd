"""Samples prompts for the experiment's four tasks from public data sets.

They are read from the Hugging Face hub, through the package ``datasets``, or from local files.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from headrace.bench.errors import OptionError, WorkloadError
from headrace.bench.results.output_file import write_text
from headrace.bench.workloads.row_selection import first_of
from headrace.bench.workloads.rows import Row, read_csv_rows, read_json_rows

MAX_PROMPT_LEN = 3_000
"""Characters, about 750 tokens of English: with its answer, a prompt fits GPT-2's 1,024."""

_READERS: dict[str, Callable[[Path], Iterable[Row]]] = {
    ".jsonl": read_json_rows,
    ".json": lambda path: read_json_rows(path, key="Data"),  # where TriviaQA has its rows
    ".csv": read_csv_rows,
    ".parquet": lambda path: _read_parquet(path),
}
"""By the file's suffix, without a ``.gz`` after it."""


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """One line of the file that is written."""

    id: str
    """As in the data set."""
    task: str
    prompt: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class PromptSource:
    """The data set of a task."""

    task: str
    repo: str
    """Name on the hub."""
    config: str | None
    split: str
    max_tokens: int
    read: Callable[[Row, int], "Draft | None"]
    """The prompt of a row, of at most the given number of characters; None to skip the row."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The prompt of a row."""

    id: str
    prompt: str


def prepare_prompts(
    source: PromptSource,
    *,
    num_prompts: int = 100,
    seed: int = 0,
    path: Path | None = None,
    max_prompt_len: int = MAX_PROMPT_LEN,
) -> list[PreparedPrompt]:
    """Sample ``num_prompts`` prompts from ``path``, or from the hub if it is None.

    path: a file, or a folder whose files are all read.
    Raises WorkloadError and OptionError.
    """
    if num_prompts < 1:
        raise OptionError(f"The number of prompts must be at least 1, got {num_prompts}.")
    rows = _read_hub(source) if path is None else _read_files(path)
    drafts: dict[str, Draft] = {}
    """By prompt, as some data sets repeat questions."""
    for row in rows:
        draft = source.read(row, max_prompt_len)
        if draft is not None and len(draft.prompt) <= max_prompt_len:
            drafts.setdefault(draft.prompt, draft)
    # Sorted, so that the sample does not depend on the order of rows and files.
    candidates = [drafts[prompt] for prompt in sorted(drafts)]
    drawn = random.Random(f"{source.task}/{seed}").sample(candidates, len(candidates))
    return [
        PreparedPrompt(draft.id, source.task, draft.prompt, source.max_tokens)
        for draft in first_of(drawn, num_prompts, path or Path(source.repo))
    ]


def write_prompts(prompts: Iterable[PreparedPrompt], path: Path) -> None:
    """Write JSONL; folders are created. Raises ResultFileError."""
    lines = [json.dumps(asdict(prompt), ensure_ascii=False) + "\n" for prompt in prompts]
    write_text(path, "".join(lines))


def _read_chat(row: Row, max_len: int) -> Draft | None:
    """OASST1: the first message of English conversations. Rows are messages or message trees."""
    message = row.value.get("prompt", row.value)
    if not isinstance(message, dict) or "role" not in message:
        raise row.error("There is no field role; is this OASST1?")
    if message["role"] != "prompter" or message.get("parent_id") is not None:
        return None
    if message.get("lang") != "en" or message.get("deleted"):
        return None
    return Draft(_text(row, message, "message_id"), _text(row, message, "text").strip())


def _read_summarization(row: Row, max_len: int) -> Draft | None:
    """CNN/DailyMail: an article, truncated after a sentence if it is too long."""
    before, after = "Summarize the following news article.\n\n", "\n\nSummary:"
    article = _text(row, row.value, "article").strip()
    room = max_len - len(before) - len(after)
    return Draft(_text(row, row.value, "id"), before + _cut(article, room) + after)


def _read_qa(row: Row, max_len: int) -> Draft | None:
    """TriviaQA: the question, without documents."""
    is_original = "Question" in row.value  # the authors' file, else the hub's
    question = _text(row, row.value, "Question" if is_original else "question").strip()
    question_id = _text(row, row.value, "QuestionId" if is_original else "question_id")
    return Draft(question_id, f"Question: {question}\nAnswer:")


def _read_code(row: Row, max_len: int) -> Draft | None:
    """HumanEval: the head of a function with its docstring."""
    return Draft(_text(row, row.value, "task_id"), _text(row, row.value, "prompt"))


PROMPT_SOURCES = {
    source.task: source
    for source in (
        PromptSource("chat", "OpenAssistant/oasst1", None, "train", 128, _read_chat),
        PromptSource(
            "summarization", "abisee/cnn_dailymail", "3.0.0", "test", 128, _read_summarization
        ),
        PromptSource("qa", "mandarjoshi/trivia_qa", "rc.nocontext", "validation", 32, _read_qa),
        PromptSource("code", "openai/openai_humaneval", None, "test", 256, _read_code),
    )
}
"""The four tasks, by name."""


def _text(row: Row, fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise row.error(f"There is no text field {name!r}; is this the right data set?")
    return value


def _cut(text: str, max_len: int) -> str:
    """Truncated after the last sentence that fits, or else the last word."""
    if len(text) <= max_len:
        return text
    head = text[: max(max_len, 0)]
    end = head.rfind(". ") + 1
    return head[:end] if end > 0 else head.rsplit(" ", 1)[0]


def _read_files(path: Path) -> Iterator[Row]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    readable = [file for file in files if _reader_of(file) is not None]
    if not readable:
        kinds = ", ".join(_READERS)
        raise WorkloadError(
            f"There is no file of a data set at {path}. Supported: {kinds}, optionally gzipped."
        )
    for file in readable:
        reader = _reader_of(file)
        for row in reader(file) if reader is not None else ():
            if not isinstance(row.value, dict):
                raise row.error("A row must be an object.")
            yield row


def _reader_of(file: Path) -> Callable[[Path], Iterable[Row]] | None:
    unpacked = file.with_suffix("") if file.suffix == ".gz" else file
    return _READERS.get(unpacked.suffix)


def _read_parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]
    except ImportError:
        raise OptionError(
            f"Reading {path} needs pyarrow: pip install 'headrace[datasets]', or give JSONL or CSV."
        ) from None
    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for value in batch.to_pylist():
                number += 1
                yield Row(path, number, value)
    except (ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
        raise WorkloadError(f"{path} cannot be read: {error}.") from None


def _read_hub(source: PromptSource) -> Iterator[Row]:
    """Streamed, so that only the rows that are read are downloaded."""
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError:
        raise OptionError(
            f"Reading {source.repo} needs datasets: pip install 'headrace[datasets]'. "
            f"Or download {source.repo} and give its files with --from."
        ) from None
    where = Path(source.repo)
    try:
        loaded = datasets.load_dataset(
            source.repo, source.config, split=source.split, streaming=True
        )
        for number, value in enumerate(loaded, start=1):
            yield Row(where, number, dict(value))
    except Exception as error:  # of datasets, pyarrow, the hub client or the network
        if isinstance(error, WorkloadError):
            raise
        raise WorkloadError(
            f"Cannot load {source.repo} from the hub ({_in_short(error)}). "
            "Download it and give its files with --from."
        ) from error


def _in_short(error: Exception) -> str:
    first = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {first[:200]}" if first else type(error).__name__
