"""The file that a measurement leaves behind: everything needed to judge it and to draw it again.

The dataclasses here and those that they hold are the format; docs/measure.md describes it.
Knows no command and no table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
from headrace.bench.records import ClientHealth, RequestRecord, Target
from headrace.bench.results.command_line import url_without_secrets
from headrace.bench.results.machine import Machine, describe_machine, describe_versions

SCHEMA = "headrace.bench/1"
"""Grows by one when a reader of the old one would misread the new one."""


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
    """Whether Ctrl-C ended it; the figures are then of the requests that had ended."""


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

    @property
    def client_bound(self) -> list[str]:
        """Why it cannot be trusted; empty if it can."""
        return [run.client_bound for run in self.runs if run.client_bound is not None]


def new_result(kind: str, command: Sequence[str], seed: int | None, **parts: Any) -> BenchResult:
    """A result of this moment on this machine."""
    return BenchResult(
        schema=SCHEMA,
        kind=kind,
        written_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=list(command),
        versions=describe_versions(),
        machine=describe_machine(),
        seed=seed,
        **parts,
    )


def shown_base_url(target: Target) -> str:
    """The target's address, fit for a file."""
    return url_without_secrets(target.base_url)


def to_json(result: BenchResult) -> str:
    return msgspec.json.format(msgspec.json.encode(result), indent=2).decode()


def write_result(path: Path, result: BenchResult) -> None:
    """Replaces what was there; raises ResultFileError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(result) + "\n")
    except OSError as error:
        raise ResultFileError(f"Cannot write {path}: {error.strerror}.") from error


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
