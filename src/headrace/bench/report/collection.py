"""Reads the results of a folder; files that cannot be read are listed with the reason."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.bench.errors import ResultFileError
from headrace.bench.results.result_file import BenchResult, RunResult, read_result

MAX_NUM_REASONS = 3
"""Reasons in the error if no file is a result."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One result file."""

    path: Path
    result: BenchResult

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True, slots=True)
class Skipped:
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Collection:
    entries: list[Entry]
    """By path."""
    skipped: list[Skipped]

    def of_kind(self, *kinds: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.result.kind in kinds]

    @property
    def servers(self) -> list[str]:
        """The labels of all servers, sorted."""
        runs = (run for entry in self.entries for run in entry.result.runs)
        return sorted({server_label(run) for run in runs})


def collect(paths: Sequence[Path]) -> Collection:
    """Read result files, and all ``.json`` files in folders, recursively. Raises ResultFileError if
    there is no result."""
    entries, skipped = [], []
    for path in _files(paths):
        try:
            entries.append(Entry(path, read_result(path)))
        except ResultFileError as error:
            skipped.append(Skipped(path, str(error)))
    if not entries:
        places = ", ".join(str(path) for path in paths)
        reasons = " ".join(skip.reason for skip in skipped[:MAX_NUM_REASONS])
        raise ResultFileError(
            f"There is no result in {places}. {reasons} Create one: headrace bench experiment "
            "--output-dir results, or headrace bench serve --output results/serve.json."
        )
    return Collection(entries, skipped)


def server_label(run: RunResult) -> str:
    """The user's name for the server, or else the name it reports."""
    own_name = run.server.card.get("owned_by")
    if run.target == "server" and isinstance(own_name, str) and own_name:
        return own_name
    return run.target


def _files(paths: Sequence[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.json"))
        else:
            yield path
