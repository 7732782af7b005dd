"""The result file of a measurement.

The dataclasses here and those they contain are the format. docs/measure.md describes it and its
compatibility: fields are only ever added, with a default.
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
"""The number is incremented by every incompatible change."""

_MAX_DEPTH = 64
"""Nesting that is kept of a value that is not plain JSON."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run: one workload against one target."""

    target: str
    """The target's name: "server", or what --target called it."""
    base_url: str
    server: ServerInfo
    setting: dict[str, Any]
    """Parameters of the run: dataset, arrivals (request_rate, concurrency ...), is_streamed, and
    what distinguishes the runs of a file (round, task, mode)."""
    figures: Figures
    client: ClientHealth
    client_bound: str | None = None
    """Why the client may have been the bottleneck; None if it was not."""
    memory: MemoryUse | None = None
    """None if the server's processes cannot be found on this machine."""
    records: list[RequestRecord] | None = None
    """Every request, with --save-records."""
    is_interrupted: bool = False
    """Whether it ended early; the figures then cover the completed requests."""
    problem: str | None = None
    """Why it ended early, or which figures could not be computed; None if neither."""


@dataclass(frozen=True, slots=True)
class BenchResult:
    """The result of one command."""

    schema: str
    kind: str
    """The command: serve, load, sweep, compare, experiment, throughput or latency."""
    written_at: str
    """UTC, ISO 8601."""
    command: list[str]
    """The command line, without secrets."""
    versions: dict[str, str]
    machine: Machine
    seed: int | None
    runs: list[RunResult] = field(default_factory=list)
    """In order of execution."""
    sweep: SweepCurve | None = None
    comparison: list[PairedRatio] | None = None
    offline: OfflineFigures | None = None

    def finished(self, **parts: Any) -> "BenchResult":
        """A copy with what was measured, written now."""
        return replace(self, written_at=_now(), **parts)

    @property
    def client_bound(self) -> list[str]:
        """Why the client may have been the bottleneck, by run; empty if it was in none."""
        return [run.client_bound for run in self.runs if run.client_bound is not None]


def new_result(kind: str, command: Sequence[str], seed: int | None, **parts: Any) -> BenchResult:
    """A result of this machine. Create it before a run, as describing the machine may fail."""
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
    """The target's address, without secrets."""
    return url_without_secrets(target.base_url)


def to_json(result: BenchResult) -> str:
    """As text. Values that JSON cannot represent, such as lone surrogates, are escaped."""
    try:
        return _format(result)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return _format(_in_plain_json(result, _MAX_DEPTH))


def write_result(path: Path, result: BenchResult) -> None:
    """Replaces the file; raises ResultFileError."""
    write_text(path, to_json(result) + "\n")


def read_result(path: Path) -> BenchResult:
    """A result of this schema, written by any version; raises ResultFileError."""
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
    """The value in JSON's types, up to this depth."""
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
