"""Draws prompts for the four tasks of the experiment from the data sets that they are known by.

From the hub, through the package ``datasets``, or from the data sets' own files. Knows where each
task's prompts come from and how a row becomes one; knows no server.
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
    ".json": lambda path: read_json_rows(path, key="Data"),  # TriviaQA's rows are under it
    ".csv": read_csv_rows,
    ".parquet": lambda path: _read_parquet(path),
}
"""By the file's suffix, without a ``.gz`` after it."""


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """One line of a file of prompts."""

    id: str
    """The data set's own."""
    task: str
    prompt: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class PromptSource:
    """Where the prompts of a task come from."""

    task: str
    repo: str
    """On the hub."""
    config: str | None
    split: str
    max_tokens: int
    read: Callable[[Row, int], "Draft | None"]
    """A row's prompt of at most so many characters; None if the row is not used."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A row's prompt."""

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
    """Draw ``num_prompts`` by the seed, from files at ``path``, or from the hub where it is None.

    ``path`` is a file, or a folder whose files are all read. Raises WorkloadError and OptionError.
    """
    if num_prompts < 1:
        raise OptionError(f"The number of prompts must be at least 1, got {num_prompts}.")
    rows = _read_hub(source) if path is None else _read_files(path)
    drafts: dict[str, Draft] = {}
    """By prompt: some data sets have a question several times."""
    for row in rows:
        draft = source.read(row, max_prompt_len)
        if draft is not None and len(draft.prompt) <= max_prompt_len:
            drafts.setdefault(draft.prompt, draft)
    # By their text, so that the same rows in other files, or in another order, give the same draw.
    candidates = [drafts[prompt] for prompt in sorted(drafts)]
    drawn = random.Random(f"{source.task}/{seed}").sample(candidates, len(candidates))
    return [
        PreparedPrompt(draft.id, source.task, draft.prompt, source.max_tokens)
        for draft in first_of(drawn, num_prompts, path or Path(source.repo))
    ]


def write_prompts(prompts: Iterable[PreparedPrompt], path: Path) -> None:
    """As JSONL, in their order; folders are made. Raises ResultFileError."""
    lines = [json.dumps(asdict(prompt), ensure_ascii=False) + "\n" for prompt in prompts]
    write_text(path, "".join(lines))


def _read_chat(row: Row, max_len: int) -> Draft | None:
    """OASST1: how English conversations begin. Rows are messages, or whole trees of them."""
    message = row.value.get("prompt", row.value)
    if not isinstance(message, dict) or "role" not in message:
        raise row.error("There is no role in it; is this OASST1?")
    if message["role"] != "prompter" or message.get("parent_id") is not None:
        return None
    if message.get("lang") != "en" or message.get("deleted"):
        return None
    return Draft(_text(row, message, "message_id"), _text(row, message, "text").strip())


def _read_summarization(row: Row, max_len: int) -> Draft | None:
    """CNN/DailyMail: an article, cut after a sentence where it is long."""
    before, after = "Summarize the following news article.\n\n", "\n\nSummary:"
    article = _text(row, row.value, "article").strip()
    room = max_len - len(before) - len(after)
    return Draft(_text(row, row.value, "id"), before + _cut(article, room) + after)


def _read_qa(row: Row, max_len: int) -> Draft | None:
    """TriviaQA: the question alone, without documents to look it up in."""
    is_original = "Question" in row.value  # as its authors write it, or as the hub does
    question = _text(row, row.value, "Question" if is_original else "question").strip()
    question_id = _text(row, row.value, "QuestionId" if is_original else "question_id")
    return Draft(question_id, f"Question: {question}\nAnswer:")


def _read_code(row: Row, max_len: int) -> Draft | None:
    """HumanEval: the head of a function, with what it shall do."""
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
        raise row.error(f"There is no text {name!r} in it; is this the right data set?")
    return value


def _cut(text: str, max_len: int) -> str:
    """Up to the last end of a sentence that fits, or else the last word."""
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
            f"There is no file of a data set at {path}. It may be {kinds}, gzipped or not."
        )
    for file in readable:
        reader = _reader_of(file)
        for row in reader(file) if reader is not None else ():
            if not isinstance(row.value, dict):
                raise row.error("A row of a data set is an object with fields.")
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
    """Streamed, so that only what is read of a data set is fetched."""
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError:
        raise OptionError(
            f"Drawing {source.task} from the hub needs datasets: pip install 'headrace[datasets]'. "
            f"Or fetch {source.repo} yourself and give its files (--from)."
        ) from None
    where = Path(source.repo)
    try:
        loaded = datasets.load_dataset(
            source.repo, source.config, split=source.split, streaming=True
        )
        for number, value in enumerate(loaded, start=1):
            yield Row(where, number, dict(value))
    except Exception as error:  # its own, pyarrow's, the hub's and the network's, in any shape
        if isinstance(error, WorkloadError):
            raise
        raise WorkloadError(
            f"{source.repo} cannot be had from the hub ({_in_short(error)}). "
            "Fetch it elsewhere and give its files (--from)."
        ) from error


def _in_short(error: Exception) -> str:
    first = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {first[:200]}" if first else type(error).__name__
