"""The file that a measurement leaves behind: everything needed to judge it and to draw it again.

The dataclasses here and those that they hold are the format; docs/measure.md describes it.
Knows no command and no table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from headrace.bench.errors import ResultFileError
from headrace.bench.figures.offline_figures import OfflineFigures
from headrace.bench.figures.pairing import PairedRatio
from headrace.bench.figures.run_figures import Figures
from headrace.bench.figures.sweep_curve import SweepCurve
from headrace.bench.http.server_info import ServerInfo
from headrace.bench.memory.memory_watch import MemoryUse
from headrace.bench.records import BenchTarget, ClientHealth, RequestRecord
from headrace.bench.redaction import url_without_secrets
from headrace.bench.results.machine import Machine, describe_machine, describe_versions
from headrace.bench.results.output_file import write_text

SCHEMA = "headrace.bench/1"
"""Grows by one when a reader of the old one would misread the new one."""

_MAX_DEPTH = 64
"""Of what is written where a result is no JSON as it is."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run: one workload against one target."""

    target: str
    """The target's name: "server", or what --target called it."""
    base_url: str
    server: ServerInfo
    setting: dict[str, Any]
    """How the run was made: dataset, arrivals (request_rate, concurrency ...), is_streamed, and
    whatever else tells two runs of one file apart (round, task, mode)."""
    figures: Figures
    client: ClientHealth
    client_bound: str | None = None
    """Why this run tells of the client rather than of the server; None if it does not."""
    memory: MemoryUse | None = None
    """None if the server's processes cannot be seen from here."""
    records: list[RequestRecord] | None = None
    """Every request, if they were asked for (--save-records)."""
    is_interrupted: bool = False
    """Whether it ended early; the figures are then of the requests that had ended."""
    problem: str | None = None
    """What ended it early, or which figures could not be worked out, and why; None if all is
    well."""


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What one command measured."""

    schema: str
    kind: str
    """The command: serve, load, sweep, compare, experiment, throughput or latency."""
    written_at: str
    """UTC, ISO 8601."""
    command: list[str]
    """As it was typed, without secrets."""
    versions: dict[str, str]
    machine: Machine
    seed: int | None
    runs: list[RunResult] = field(default_factory=list)
    """In the order in which they were made."""
    sweep: SweepCurve | None = None
    comparison: list[PairedRatio] | None = None
    offline: OfflineFigures | None = None

    def finished(self, **parts: Any) -> "BenchResult":
        """The same with what was measured, as of this moment."""
        return replace(self, written_at=_now(), **parts)

    @property
    def client_bound(self) -> list[str]:
        """Why it cannot be trusted; empty if it can."""
        return [run.client_bound for run in self.runs if run.client_bound is not None]


def new_result(kind: str, command: Sequence[str], seed: int | None, **parts: Any) -> BenchResult:
    """A result of this moment on this machine. Made before a run, it has nothing left to fail."""
    return BenchResult(
        schema=SCHEMA,
        kind=kind,
        written_at=_now(),
        command=list(command),
        versions=describe_versions(),
        machine=describe_machine(),
        seed=seed,
        **parts,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def shown_base_url(target: BenchTarget) -> str:
    """The target's address, fit for a file."""
    return url_without_secrets(target.base_url)


def to_json(result: BenchResult) -> str:
    """As text. What JSON has no form for, such as half a character in what a server said of
    itself, is escaped: it loses no result."""
    try:
        return _format(result)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return _format(_in_plain_json(result, _MAX_DEPTH))


def write_result(path: Path, result: BenchResult) -> None:
    """Replaces what was there; raises ResultFileError."""
    write_text(path, to_json(result) + "\n")


def read_result(path: Path) -> BenchResult:
    """A result that this or an earlier version wrote; raises ResultFileError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ResultFileError(f"Cannot read {path}: {error.strerror}.") from error
    try:
        schema = msgspec.json.decode(content, type=_Header).schema
    except msgspec.DecodeError as error:
        raise ResultFileError(f"{path} is not a result of headrace bench.") from error
    if schema != SCHEMA:
        raise ResultFileError(f"{path} has the format {schema}; this version reads {SCHEMA}.")
    try:
        return msgspec.json.decode(content, type=BenchResult)
    except msgspec.DecodeError as error:
        raise ResultFileError(f"{path} is damaged: {error}.") from error


class _Header(msgspec.Struct):
    schema: str


def _format(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _in_plain_json(value: object, depth: int) -> object:
    """The same of types that JSON has, at most so deep."""
    if isinstance(value, str):
        return str.encode(value, errors="backslashreplace").decode()
    if isinstance(value, int) and value.bit_length() > 64:
        return hex(value)
    if value is None or isinstance(value, int | float):  # bool is int
        return value
    if depth == 0:
        return "..."
    if is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, Mapping):
        return {
            str.encode(str(name), errors="backslashreplace").decode(): _in_plain_json(
                each, depth - 1
            )
            for name, each in value.items()
        }
    if isinstance(value, list | tuple | set):
        return [_in_plain_json(each, depth - 1) for each in value]
    return repr(value)
